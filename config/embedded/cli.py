"""The command line of `manage.py up`, usable without Django: loading it would delay the servers by seconds and serve nothing here."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from config.embedded.address import Address
from config.embedded.errors import EmbeddedError
from config.embedded.stack import PROJECT, Options, Stack
from config.embedded.state import DataDir
from config.embedded.supervisor import stop_flag

DESCRIPTION = (
    "Start PostgreSQL, Valkey and a small language model (each only when DATABASE_URL, REDIS_URL or LLM_BASE_URL does not "
    "name another), then the web server, the workers and beat. Ctrl-C stops all."
)


def default_data_dir() -> Path:
    return Path(os.environ.get("QUORUM_DATA_DIR") or PROJECT / "var")


def default_index_processes() -> int:
    """One on two cores; half of them on more, since embedding also uses threads of its own."""
    return max(1, (os.cpu_count() or 1) // 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=8000, help="port of the web server (default 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--data-dir", type=Path, default=default_data_dir(), help="where everything is kept (default var)"
    )
    parser.add_argument("--no-demo", action="store_true", help="leave the demo packs and templates out")
    parser.add_argument("--workers", type=_at_least_one, default=default_index_processes(), help="indexing processes")
    parser.add_argument(
        "--web-processes",
        type=_at_least_one,
        default=1,
        help="web servers on the one port (default 1; each uses one core)",
    )


def _port(text: str) -> int:
    if not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError("must be between 1 and 65535")
    return int(text)


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def run(chosen: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Serve until told to stop. Returns the exit status; the reason of a failure is one line on standard error."""
    options = Options(
        Address(chosen.host, chosen.port),
        demo=not chosen.no_demo,
        index_processes=chosen.workers,
        web_processes=chosen.web_processes,
    )
    try:
        Stack(DataDir(chosen.data_dir), options, stop_flag(), say).run()
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="manage.py up", description=DESCRIPTION)
    add_arguments(parser)
    return run(parser.parse_args(arguments), _say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
