"""`manage.py up`: everything Quorum needs, on one machine, until Ctrl-C. The work is in `config.embedded`."""

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config.embedded import cli


class Command(BaseCommand):
    help = cli.DESCRIPTION
    # There is no database to check yet.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_arguments(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        status = cli.run(argparse.Namespace(**options), self._say)
        if status != 0:
            sys.exit(status)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
