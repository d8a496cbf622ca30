from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.live import STREAMS
from realtime.events_doc import replaced


class Command(BaseCommand):
    help = "Write the tables of events in docs/events.md from the schemas, or check that they are as the schemas say."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--write", action="store_true")
        what.add_argument("--check", action="store_true", help="exits 1 when the page would change")
        parser.add_argument("--page", type=Path, default=Path(settings.BASE_DIR) / "docs" / "events.md")

    def handle(self, *args: Any, **options: Any) -> None:
        page: Path = options["page"]
        now = page.read_text()
        try:
            wanted = replaced(now, STREAMS)
        except ValueError as error:
            raise CommandError(f"{page}: {error}") from error
        if options["check"]:
            if now != wanted:
                raise CommandError(f"{page} is not what the schemas say: run manage.py events_doc --write")
            return
        page.write_text(wanted)
