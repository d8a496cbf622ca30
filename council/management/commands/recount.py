from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from council.models import CouncilSession
from council.recount import recount
from realtime.errors import QuorumError


class Command(BaseCommand):
    help = "Recompute a council's decision from its stored ballots and seeds; fails loudly on any difference."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session", type=UUID)

    def handle(self, *args: Any, **options: Any) -> None:
        session = CouncilSession.objects.filter(pk=options["session"]).first()
        if session is None:
            raise CommandError(f"There is no council session {options['session']}.")
        try:
            found = recount(session)
        except QuorumError as error:
            raise CommandError(error.detail) from error
        if not found["agrees"]:
            raise CommandError("The stored decision does not agree:\n" + json.dumps(found["differences"], indent=2))
        self.stdout.write(
            f"The recount agrees: {found['decision']['outcome']}, {found['decision']['option'] or 'open question'}."
        )
