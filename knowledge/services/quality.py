"""Golden questions, evaluations and reviews."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from knowledge.models import Entry, Evaluation, EvaluationJob, EvaluationStatus, GoldenQuestion, KnowledgePack
from knowledge.quality import evaluation as running
from knowledge.quality.shapes import evaluation_header, job_json
from knowledge.ranking import Mode
from knowledge.services import locking
from knowledge.shapes import entry_header, pack_counts
from realtime import log, nudge
from realtime.errors import Conflict, InvalidInput, NotFound

EVALUATE_AT_ONCE = 50  # questions that a request waits for; a worker asks more


@transaction.atomic
def add_golden_question(
    pack_id: UUID, author: User | None, *, question: str, expected: Sequence[UUID]
) -> GoldenQuestion:
    """A question, and the entries of the pack that a search for it should find. Raises ``Conflict`` when the pack has the question
    already, ``InvalidInput`` for an expected entry that is not the pack's."""
    pack = _open_pack(pack_id)
    entries = _entries(pack, expected)
    try:
        with transaction.atomic():
            made = GoldenQuestion.objects.create(pack=pack, question=question, created_by=author)
    except IntegrityError as error:
        raise _twice(error) from error
    made.expected.set(entries)
    _questions_changed(pack)
    return made


@transaction.atomic
def change_golden_question(
    question_id: UUID, *, question: str | None = None, expected: Sequence[UUID] | None = None
) -> GoldenQuestion:
    """New words, or other expected entries. Raises as ``add_golden_question`` does."""
    pack, found = _locked_question(question_id)
    if expected is not None:
        found.expected.set(_entries(pack, expected))
    if question is not None:
        found.question = question
        try:
            with transaction.atomic():
                found.save(update_fields=["question"])
        except IntegrityError as error:
            raise _twice(error) from error
    _questions_changed(pack)
    return found


@transaction.atomic
def delete_golden_question(question_id: UUID) -> None:
    pack, found = _locked_question(question_id)
    found.delete()
    _questions_changed(pack)


def evaluate(pack: KnowledgePack, user: User | None = None, mode: str = Mode.HYBRID) -> Evaluation:
    """Ask all golden questions of the pack now and keep what came of it. The searches run outside the transaction.

    Raises ``IllegalState`` when there is no question to ask, ``InvalidInput`` for an unknown mode, ``EmbeddingError`` as search.
    """
    epoch = running.epoch(pack)
    done = running.run(pack, mode)
    with transaction.atomic():
        return store_evaluation(_open_pack(pack.pk), user, mode, epoch, done)


def store_evaluation(
    pack: KnowledgePack, user: User | None, mode: str, epoch: int, done: running.Run, job: UUID | None = None
) -> Evaluation:
    """Keep a run of a locked pack that was at ``epoch`` when it began; under the id of the ``job`` that asked for it."""
    stored = Evaluation.objects.create(
        **({"pk": job} if job else {}),
        pack=pack,
        created_by=user,
        mode=mode,
        index_epoch=epoch,
        questions=len(done.results),
        ndcg_10=done.ndcg_10,
        recall_10=done.recall_10,
        mrr=done.mrr,
        results=done.results,
    )
    log.append(pack, ("pack.evaluated", {"evaluation": evaluation_header(stored)}))
    return stored


def evaluable_at_once(pack: KnowledgePack) -> bool:
    return running.answerable(pack).count() <= EVALUATE_AT_ONCE


def evaluate_or_queue(pack: KnowledgePack, user: User | None, mode: str = Mode.HYBRID) -> Evaluation | None:
    """``evaluate`` when the questions are few; otherwise ``queue_evaluation``, and the answer is None."""
    if evaluable_at_once(pack):
        return evaluate(pack, user, mode)
    queue_evaluation(pack.pk, user, mode)
    return None


@transaction.atomic
def queue_evaluation(pack_id: UUID, user: User | None, mode: str = Mode.HYBRID) -> EvaluationJob:
    """Have a worker ask the questions. One that waits for that in the same mode already will do. Raises ``InvalidInput`` for an
    unknown mode."""
    running.check_mode(mode)
    pack = _open_pack(pack_id)
    waiting = EvaluationJob.objects.filter(pack=pack, mode=mode, status=EvaluationStatus.QUEUED).first()
    if waiting is not None:
        return waiting
    job = EvaluationJob.objects.create(pack=pack, created_by=user, mode=mode)
    log.append(pack, ("pack.evaluation_queued", {"evaluation": job_json(job)}))
    nudge.send_task_on_commit("knowledge.tasks.run_evaluation", [str(job.pk)], "index")
    return job


def fail_evaluation(pack: KnowledgePack, job: EvaluationJob, reason: str) -> None:
    """End a job of a locked pack; whoever works on it is fenced off."""
    job.status, job.error, job.lease_expires_at = EvaluationStatus.FAILED, reason, None
    job.lease_token += 1
    job.save(update_fields=["status", "error", "lease_expires_at", "lease_token"])
    log.append(pack, ("pack.evaluation_failed", {"evaluation": job_json(job)}))


@transaction.atomic
def mark_reviewed(entry_ids: Sequence[UUID], user: User | None) -> int:
    """Note that somebody has looked at these entries and found them right; a date of review that has come is done with. Returns
    how many there were. Raises ``IllegalState`` when a pack is closed, in which case nothing is marked."""
    found = Entry.objects.filter(pk__in=entry_ids, deleted_at=None).order_by("pack", "pk").values_list("pack", "pk")
    marked = 0
    for pack_id, rows in groupby(found, key=lambda row: row[0]):
        pack = locking.locked_pack(pack_id)
        locking.require_open(pack)
        marked += _mark(pack, [pk for _, pk in rows], user)
    return marked


def _mark(pack: KnowledgePack, entry_ids: Sequence[UUID], user: User | None) -> int:
    now = timezone.now()
    rows = Entry.objects.select_for_update(no_key=True).filter(pk__in=entry_ids, deleted_at=None).order_by("pk")
    entries = list(rows)
    for entry in entries:
        entry.reviewed_at, entry.reviewed_by = now, user
        if entry.review_by and entry.review_by <= now.date():
            entry.review_by = None
        entry.version += 1
        entry.save(update_fields=["reviewed_at", "reviewed_by", "review_by", "version", "updated_at"])
    counts = pack_counts(pack)
    log.append(pack, *(("entry.updated", {"entry": entry_header(entry), "pack": counts}) for entry in entries))
    return len(entries)


def _open_pack(pack_id: UUID) -> KnowledgePack:
    pack = locking.locked_pack(pack_id)
    locking.refuse_deleted(pack)
    return pack


def _locked_question(question_id: UUID) -> tuple[KnowledgePack, GoldenQuestion]:
    pack_id = GoldenQuestion.objects.filter(pk=question_id).values_list("pack", flat=True).first()
    if pack_id is None:
        raise NotFound("There is no such golden question.")
    pack = _open_pack(pack_id)
    found = GoldenQuestion.objects.filter(pk=question_id).first()  # under the pack's lock, like every writer of it
    if found is None:
        raise NotFound("There is no such golden question.")
    return pack, found


def _entries(pack: KnowledgePack, wanted: Sequence[UUID]) -> list[Entry]:
    by_id = Entry.objects.filter(pack=pack, deleted_at=None).in_bulk(list(set(wanted)))
    errors = [
        {"pointer": f"/expected/{place}", "detail": "This is not the id of an entry of the pack."}
        for place, entry_id in enumerate(wanted)
        if entry_id not in by_id
    ]
    if not wanted:
        errors.append({"pointer": "/expected", "detail": "A golden question expects at least one entry."})
    if errors:
        raise InvalidInput("The expected entries are not all entries of the pack.", errors=errors)  # type: ignore[arg-type]  # as FieldError
    return list(by_id.values())


def _questions_changed(pack: KnowledgePack) -> None:
    log.append(pack, ("pack.questions_changed", {"golden_questions": pack.golden_questions.count()}))


def _twice(error: IntegrityError) -> Exception:
    if "golden_question_once" in str(error):
        return Conflict("the pack has this question already", code="question_exists")
    return error
