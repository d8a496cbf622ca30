"""``manage.py evaluate_pack PACK``: ask a pack's golden questions and print what search makes of them."""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from knowledge import services
from knowledge.models import Evaluation, KnowledgePack
from knowledge.quality import evaluation as running
from knowledge.ranking import Mode
from knowledge.states import PackStatus
from realtime.errors import QuorumError


class Command(BaseCommand):
    help = "Ask a pack's golden questions, print the figures and what changed since the last run, and keep them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pack", help="the pack's id, or its name when only one has it")
        parser.add_argument("--mode", choices=list(Mode), default=Mode.HYBRID.value)
        parser.add_argument("--min-ndcg", type=float, help="exit with status 1 when nDCG@10 is below this")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            pack = _pack(options["pack"])
            made = services.evaluate(pack, None, options["mode"])
        except QuorumError as error:
            raise CommandError(error.detail, returncode=2) from error
        self._print(running.evaluations(pack).get(pk=made.pk))
        least = options["min_ndcg"]
        if least is not None and made.ndcg_10 < least:
            self.stderr.write(f"nDCG@10 is {made.ndcg_10:.3f}, below {least:.3f}")
            sys.exit(1)

    def _print(self, evaluation: Evaluation) -> None:
        self.stdout.write(f"{'nDCG@10':>8}  {'recall@10':>9}  {'RR':>5}  question")
        for row in evaluation.results:
            self.stdout.write(f"{row['ndcg']:8.3f}  {row['recall']:9.3f}  {row['rr']:5.3f}  {row['question']}")
        means = (evaluation.ndcg_10, evaluation.recall_10, evaluation.mrr)
        self.stdout.write(
            f"{means[0]:8.3f}  {means[1]:9.3f}  {means[2]:5.3f}  mean of {evaluation.questions}, {evaluation.mode}"
        )
        diff = running.diff(evaluation)
        if diff is None:
            self.stdout.write("first run in this mode")
            return
        self.stdout.write(f"since the last run: {diff['ndcg_10']:+.3f}")
        for row in diff["questions"]:
            if row["change"] != "same":
                values = " -> ".join("-" if one is None else f"{one:.3f}" for one in (row["before"], row["ndcg"]))
                self.stdout.write(f"  {row['change']:<8}{values}  {row['question']}")


def _pack(given: str) -> KnowledgePack:
    packs = KnowledgePack.objects.exclude(status=PackStatus.DELETED)
    try:
        found = list(packs.filter(pk=UUID(given)))
    except ValueError:
        found = list(packs.filter(name=given)[:2])
    if len(found) != 1:
        raise CommandError(
            "several packs have this name: give the id" if found else "there is no such pack", returncode=2
        )
    return found[0]
