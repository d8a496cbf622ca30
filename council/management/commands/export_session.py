from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from council.export import MEDIA_TYPES, export
from council.models import CouncilSession


class Command(BaseCommand):
    help = "Write a whole council to the standard output: minutes (md, html) or the complete record (json)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session", type=UUID)
        parser.add_argument("--format", choices=list(MEDIA_TYPES), default="md")
        parser.add_argument("--prompts", action="store_true", help="with json: also every call of a model")

    def handle(self, *args: Any, **options: Any) -> None:
        session = CouncilSession.objects.filter(pk=options["session"]).first()
        if session is None:
            raise CommandError(f"There is no council session {options['session']}.")
        written = export(session, options["format"], prompts=options["prompts"])
        self.stdout.write(written.content.decode(), ending="")
