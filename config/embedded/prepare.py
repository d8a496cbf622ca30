"""Migrate the database and create the first data: `python -m config.embedded.prepare --url URL [--no-demo]`.

One process for both commands, because loading Django and the apps costs more than either does on a second start.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import django
from django.core.management import CommandError, call_command


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m config.embedded.prepare", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--no-demo", action="store_true")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    try:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("bootstrap", *(["--no-demo"] if chosen.no_demo else []), url=chosen.url)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
