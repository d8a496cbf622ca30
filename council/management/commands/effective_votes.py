from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from council.effective import for_staff
from council.models import CouncilSession


class Command(BaseCommand):
    help = "How many independent votes a council's seats are worth, estimated over past sessions with seats on the same models."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session", type=UUID)

    def handle(self, *args: Any, **options: Any) -> None:
        session = CouncilSession.objects.filter(pk=options["session"]).first()
        if session is None:
            raise CommandError(f"There is no council session {options['session']}.")
        found = for_staff(session)
        for warning in found["warnings"]:
            self.stdout.write(self.style.WARNING(warning))
        if found["n_eff"] is None:
            self.stdout.write(
                f"No estimate: models of these seats have met in {found['sessions']} sessions, {found['needed']} are needed."
            )
            return
        self.stdout.write(
            f"{found['seats']} seats carry {found['n_eff']:.1f} effective votes (ρ = {found['rho']:.2f}, from {found['sessions']} "
            f"sessions; {found['basis']})."
        )
