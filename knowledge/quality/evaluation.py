"""Running a pack's golden questions through its search. Reads only; ``services.evaluate`` stores what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from knowledge.models import Evaluation, GoldenQuestion, KnowledgePack
from knowledge.quality import comparison
from knowledge.quality.metrics import DEPTH, ndcg_at_10, recall_at_10, reciprocal_rank
from knowledge.ranking import Mode
from knowledge.search import search
from realtime.errors import IllegalState, InvalidInput


@dataclass(frozen=True, slots=True)
class Run:
    """Means over the questions, and one row for each: ``{id, question, expected, found, ndcg, recall, rr}``."""

    ndcg_10: float
    recall_10: float
    mrr: float
    results: list[dict[str, Any]]


def answerable(pack: KnowledgePack) -> QuerySet[GoldenQuestion]:
    """Questions that expect something. An entry in the trash is still expected, so that its loss shows; a purged one is not."""
    return pack.golden_questions.filter(expected__isnull=False).distinct()


def check_mode(mode: str) -> None:
    if mode not in list(Mode):
        raise InvalidInput(f"mode is one of {', '.join(Mode)}.", code="bad_mode")


def epoch(pack: KnowledgePack) -> int:
    """Of the pack's index now, which what is measured from now on is put down to. 0 when there is no such pack."""
    return KnowledgePack.objects.values_list("index_epoch", flat=True).filter(pk=pack.pk).first() or 0


def run(pack: KnowledgePack, mode: str, beat: Callable[[], object] = lambda: None) -> Run:
    """Ask every golden question as a search for ten entries would be; ``beat`` is called before each. Raises ``IllegalState`` when
    there are none, ``InvalidInput`` for an unknown mode, ``EmbeddingError`` as search does."""
    check_mode(mode)
    questions = list(answerable(pack).prefetch_related("expected").order_by("created_at", "id"))
    if not questions:
        raise IllegalState("the pack has no golden questions to ask", code="no_golden_questions")
    results = []
    for question in questions:
        beat()
        results.append(_ask(pack, question, mode))
    return Run(_mean(results, "ndcg"), _mean(results, "recall"), _mean(results, "rr"), results)


def _ask(pack: KnowledgePack, question: GoldenQuestion, mode: str) -> dict[str, Any]:
    expected = {str(entry.pk) for entry in question.expected.all()}
    found = [str(hit.entry_id) for hit in search([pack], question.question, mode=mode, limit=DEPTH).hits]
    return {
        "id": str(question.pk),
        "question": question.question,
        "expected": sorted(expected),
        "found": found,
        "ndcg": round(ndcg_at_10(found, expected), 6),
        "recall": round(recall_at_10(found, expected), 6),
        "rr": round(reciprocal_rank(found, expected), 6),
    }


def _mean(results: Sequence[dict[str, Any]], name: str) -> float:
    return round(fmean(row[name] for row in results), 6)


def evaluations(pack: KnowledgePack) -> QuerySet[Evaluation]:
    """The pack's runs with what their comparison needs of the run before, in the same mode: ``previous_id``, ``previous_ndcg``,
    ``previous_results`` (null for the first)."""
    earlier = Q(created_at__lt=OuterRef("created_at")) | Q(created_at=OuterRef("created_at"), id__lt=OuterRef("id"))
    before = Evaluation.objects.filter(earlier, pack=OuterRef("pack"), mode=OuterRef("mode"))
    before = before.order_by("-created_at", "-id")
    return Evaluation.objects.filter(pack=pack).annotate(
        previous_id=Subquery(before.values("id")[:1]),
        previous_ndcg=Subquery(before.values("ndcg_10")[:1]),
        previous_results=Subquery(before.annotate(rows=F("results")).values("rows")[:1]),
    )


def diff(evaluation: Evaluation) -> dict[str, Any] | None:
    """Against the run before (of a row of ``evaluations``): ``{previous, ndcg_10, counts, questions}``; None for the first run."""
    known = vars(evaluation)
    if known["previous_id"] is None:
        return None
    rows = comparison.compare(evaluation.results, known["previous_results"])
    return {
        "previous": str(known["previous_id"]),
        "ndcg_10": round(evaluation.ndcg_10 - known["previous_ndcg"], 6),
        "counts": comparison.counts(rows),
        "questions": rows,
    }
