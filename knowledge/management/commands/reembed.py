"""`manage.py reembed`: make a pack's vectors anew, or move packs to another embedding model, without downtime."""

from __future__ import annotations

import argparse
import time
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from knowledge import selectors, services, spaces
from knowledge.models import KnowledgePack
from knowledge.shapes import pack_embedding
from realtime.errors import QuorumError

WORK_S = 5.0  # between two lines of progress
WAIT_S = 1.0


class Command(BaseCommand):
    help = "Make vectors anew: of the pack's present choice, or of --model, which becomes its choice. Searches go on meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--pack", type=UUID, metavar="ID")
        which.add_argument("--all", action="store_true", help="every pack that is not in the trash")
        model = parser.add_mutually_exclusive_group()
        model.add_argument("--model", metavar="NAME", help="a registered embedding model")
        model.add_argument("--default", action="store_true", help="the model that the settings name")
        wait = "do the work here, or watch whoever is at it, until the new vectors are in use"
        parser.add_argument("--wait", action="store_true", help=wait)

    def handle(self, *_args: Any, **options: Any) -> None:
        chosen = argparse.Namespace(**options)
        packs = list(selectors.packs_to_embed(chosen.pack))
        if not packs:
            raise CommandError("There is no such knowledge pack.")
        try:
            for pack in packs:
                self._start(pack, chosen)
            for pack in packs if chosen.wait else []:
                self._wait(pack)
        except QuorumError as error:
            raise CommandError(error.detail) from error

    def _start(self, pack: KnowledgePack, chosen: argparse.Namespace) -> None:
        if chosen.model or chosen.default:
            services.choose_embedding(pack.pk, chosen.model)
        else:
            services.reembed(pack.pk)
        future = pack_embedding(pack)["future"]
        self.stdout.write(f"{pack.pk} {pack.name}: " + (f"to {future['model']}" if future else "nothing to do"))

    def _wait(self, pack: KnowledgePack) -> None:
        while True:
            more = spaces.work(pack.pk, time.monotonic() + WORK_S)
            future = pack_embedding(pack)["future"]
            if future is None:
                self.stdout.write(f"{pack.pk} {pack.name}: done")
                return
            note = f"; {future['error']}" if future["error"] else ""
            self.stdout.write(f"{pack.pk} {future['done']} of {future['total']}, {future['rate']} a second{note}")
            if not more:
                time.sleep(WAIT_S)
