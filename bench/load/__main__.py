"""Load on the whole stack as shipped, with a fake model server; clients in a process of their own.

    python -m bench.load sockets|active|idle|rolling|stalled|watchers|stop|api [--write]        each with options of its own: --help

Prints a table, with ``--write`` also into docs/reliability.md (and plots into docs/); exits 1 with a line for each violation.
"""

from __future__ import annotations

import argparse
import signal
import sys

from bench.load import active, api, idle, rolling, sockets, stalled, stop, watchers

KINDS = {
    "sockets": sockets,
    "active": active,
    "rolling": rolling,
    "idle": idle,
    "stalled": stalled,
    "watchers": watchers,
    "stop": stop,
    "api": api,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.partition("\n")[0])
    chosen = parser.add_subparsers(dest="kind", required=True)
    for name, module in KINDS.items():
        described = chosen.add_parser(name, help=module.__doc__)
        described.add_argument("--write", action="store_true")
        module.arguments(described)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what we started ends with us
    faults = KINDS[options.kind].run(options)
    print(*faults, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
