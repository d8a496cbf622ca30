"""How golden questions, evaluations and the review queue look outside."""

from __future__ import annotations

from typing import Any

from knowledge.models import Evaluation, EvaluationJob, GoldenQuestion
from realtime.times import rfc3339


def question_json(question: GoldenQuestion) -> dict[str, Any]:
    return {
        "id": str(question.pk),
        "question": question.question,
        "expected": sorted(str(entry.pk) for entry in question.expected.all()),
        "created_at": rfc3339(question.created_at),
    }


def evaluation_header(evaluation: Evaluation) -> dict[str, Any]:
    """A run without its rows."""
    return {
        "id": str(evaluation.pk),
        "pack": str(evaluation.pack_id),
        "mode": evaluation.mode,
        "status": "finished",
        "index_epoch": evaluation.index_epoch,
        "questions": evaluation.questions,
        "ndcg_10": evaluation.ndcg_10,
        "recall_10": evaluation.recall_10,
        "mrr": evaluation.mrr,
        "created_at": rfc3339(evaluation.created_at),
    }


def job_json(job: EvaluationJob) -> dict[str, Any]:
    """A run that is not there yet, or never will be. ``created_at`` is when it was asked for."""
    return {
        "id": str(job.pk),
        "pack": str(job.pack_id),
        "mode": job.mode,
        "status": job.status,
        "error": job.error or None,
        "created_at": rfc3339(job.created_at),
    }
