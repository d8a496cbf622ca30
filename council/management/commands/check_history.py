from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from council.history.stored import faults
from council.models import CouncilSession
from knowledge import history as packs
from knowledge.models import KnowledgePack

Found = tuple[str, UUID, list[Any]]


class Command(BaseCommand):
    help = "Check event logs against what is stored; one line for each fault, and exit status 1 when there is one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session", nargs="*", type=UUID)
        parser.add_argument("--all", action="store_true", help="every council session")
        parser.add_argument("--packs", action="store_true", help="every knowledge pack")
        parser.add_argument("--json", action="store_true", help="each fault as a JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted: list[UUID] = options["session"]
        if not (wanted or options["all"] or options["packs"]):
            raise CommandError("Name sessions, or ask for --all or --packs.")
        missing = set(wanted) - set(CouncilSession.objects.filter(pk__in=wanted).values_list("pk", flat=True))
        if missing:
            raise CommandError(f"There is no council session {', '.join(sorted(map(str, missing)))}.")
        checked = wrong = 0
        for kind, identity, found in _checked(wanted, councils=options["all"], knowledge=options["packs"]):
            checked, wrong = checked + 1, wrong + len(found)
            for fault in found:
                line = {"kind": kind, "id": str(identity), "rule": fault.rule, "detail": fault.detail}
                self.stdout.write(json.dumps(line) if options["json"] else f"{kind} {identity}: {fault}")
        if wrong:
            raise CommandError(f"{wrong} faults in {checked} histories.")
        if not options["json"]:
            self.stdout.write(f"{checked} histories, no fault.")


def _checked(wanted: Iterable[UUID], *, councils: bool, knowledge: bool) -> Iterator[Found]:
    """One by one, so that memory stays what one of them needs."""
    every = CouncilSession.objects.order_by("pk").values_list("pk", flat=True).iterator()
    for identity in every if councils else wanted:
        yield "council", identity, faults(identity)
    if knowledge:
        for identity in KnowledgePack.objects.order_by("pk").values_list("pk", flat=True).iterator():
            yield "pack", identity, packs.faults(identity)
