"""`manage.py up`: everything Quorum needs, on one machine, until Ctrl-C."""

import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config.embedded.apps import Address, default_index_processes
from config.embedded.errors import EmbeddedError
from config.embedded.stack import Options, Stack
from config.embedded.state import DataDir
from config.embedded.supervisor import stop_flag


class Command(BaseCommand):
    help = (
        "Start PostgreSQL, Valkey and a small language model (each only when DATABASE_URL, REDIS_URL or LLM_BASE_URL does not "
        "name another), then the web server, the workers and beat. Ctrl-C stops all."
    )
    # There is no database to check yet.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="port of the web server (default 8000)")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        parser.add_argument(
            "--data-dir", type=Path, default=settings.DATA_DIR, help="where everything is kept (default var)"
        )
        parser.add_argument("--no-demo", action="store_true", help="leave the demo packs and templates out")
        parser.add_argument("--workers", type=int, default=default_index_processes(), help="indexing processes")

    def handle(self, *_args: Any, **options: Any) -> None:
        chosen = Options(
            address=Address(options["host"], options["port"]),
            demo=not options["no_demo"],
            index_processes=options["workers"],
        )
        try:
            Stack(DataDir(options["data_dir"]), chosen, stop_flag(), self._say).run()
        except EmbeddedError as error:
            self.stderr.write(str(error))
            sys.exit(1)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
