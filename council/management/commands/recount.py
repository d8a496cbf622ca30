from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from council.deliberation.types import Rule
from council.models import CouncilSession
from council.recount import recount
from realtime.errors import QuorumError


class Command(BaseCommand):
    help = "Recompute a council's decision from its stored ballots and seeds; fails loudly on any difference."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session", type=UUID)
        parser.add_argument("--rule", choices=list(Rule), help="also show what this rule would have decided")

    def handle(self, *args: Any, **options: Any) -> None:
        session = CouncilSession.objects.filter(pk=options["session"]).first()
        if session is None:
            raise CommandError(f"There is no council session {options['session']}.")
        try:
            found = recount(session, Rule(options["rule"]) if options["rule"] else None)
        except QuorumError as error:
            raise CommandError(error.detail) from error
        if not found["agrees"]:
            raise CommandError("The stored decision does not agree:\n" + json.dumps(found["differences"], indent=2))
        self.stdout.write(
            f"The recount agrees: {found['decision']['outcome']}, {found['decision']['option'] or 'open question'}."
        )
        if found["people"]:
            self.stdout.write(f"A person spoke for {', '.join(found['people'])}.")
        if other := found.get("other_rule"):
            self.stdout.write(_words(other))


def _words(other: dict[str, Any]) -> str:
    elected = other["option"] or other["text"] or "nobody"
    change = "the same" if other["same"] else "another outcome"
    close = ", too close to call" if other["too_close"] else ""
    return f"Under {other['rule']}: {elected} ({change}{close})."
