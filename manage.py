#!/usr/bin/env python
"""Quorum's command line: ``python manage.py up`` starts everything, ``help`` lists the rest."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["up"]:
        # It starts others and needs no Django itself: a second saved, and no secret key made where none is used.
        from config.embedded.cli import main as up

        sys.exit(up(sys.argv[2:]))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
