"""Evaluations that a worker carries out: claim, ask, store.

As with imports, a claim sets a lease and bumps ``lease_token``, and only its holder may go on (fencing). Asking changes nothing, so
when a worker dies and its lease runs out, another begins anew.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from knowledge.models import EvaluationJob, EvaluationStatus, KnowledgePack
from knowledge.quality import evaluation
from knowledge.services import locked_pack
from knowledge.services import quality as service
from knowledge.states import PackStatus
from realtime import nudge, stopping
from realtime.errors import NotFound, QuorumError

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=60)
RENEW_S: Final = 5.0
MAX_ATTEMPTS: Final = 5


class Fenced(Exception):
    """The job is no longer ours: another worker has taken it over."""


@dataclass(slots=True)
class Work:
    """A job that this worker holds while its lease lasts."""

    job: EvaluationJob
    token: int
    renewed: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Renew the lease now and then. Raises ``Fenced``, or ``Stopping`` when the worker is to end."""
        stopping.check()
        if time.monotonic() - self.renewed < RENEW_S:
            return
        self.renewed = time.monotonic()
        mine = EvaluationJob.objects.filter(pk=self.job.pk, lease_token=self.token)
        if not mine.update(lease_expires_at=timezone.now() + LEASE):
            raise Fenced


def with_work() -> list[UUID]:
    """Jobs that wait for a worker or whose worker let its lease run out."""
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=timezone.now())
    open_jobs = EvaluationJob.objects.filter(free, status__in=[EvaluationStatus.QUEUED, EvaluationStatus.RUNNING])
    return list(open_jobs.order_by("pk").values_list("pk", flat=True))


def run(job_id: UUID) -> None:
    """Carry the job out, unless somebody else is at it. What the search or the pack refuses is the reason for which it fails."""
    try:
        work = claim(job_id)
        if work is None:
            return
        pack = work.job.pack
        epoch = evaluation.epoch(pack)
        try:
            with stopping.held(partial(give_back, work)):
                done = evaluation.run(pack, work.job.mode, work.beat)
        except QuorumError as error:
            _fail(work, error.detail)
        else:
            _finish(work, epoch, done)
    except Fenced:
        log.info("evaluation %s is no longer ours", job_id)
    except NotFound:
        log.info("evaluation %s is gone", job_id)


@transaction.atomic
def claim(job_id: UUID) -> Work | None:
    """Lease the job, or None when there is nothing to do or somebody is at it. After five lost workers it fails instead."""
    pack, job = _locked(job_id)
    now = timezone.now()
    busy = job.lease_expires_at is not None and job.lease_expires_at >= now
    if busy or job.status == EvaluationStatus.FAILED:
        return None
    if pack.status == PackStatus.DELETED:
        service.fail_evaluation(pack, job, "The pack was deleted.")
        return None
    if job.attempt >= MAX_ATTEMPTS:
        service.fail_evaluation(pack, job, "The worker died each time it asked the questions.")
        return None
    job.status, job.lease_expires_at = EvaluationStatus.RUNNING, now + LEASE
    job.attempt += 1
    job.lease_token += 1
    job.save(update_fields=["status", "attempt", "lease_token", "lease_expires_at"])
    return Work(job, job.lease_token)


@transaction.atomic
def _finish(work: Work, epoch: int, done: evaluation.Run) -> None:
    pack, job = _ours(work)
    if pack.status == PackStatus.DELETED:
        service.fail_evaluation(pack, job, "The pack was deleted.")
        return
    service.store_evaluation(pack, job.created_by, job.mode, epoch, done, job.pk)
    job.delete()


@transaction.atomic
def _fail(work: Work, reason: str) -> None:
    pack, job = _ours(work)
    service.fail_evaluation(pack, job, reason)


@transaction.atomic
def give_back(work: Work) -> None:
    """The worker is to end: another one asks anew at once. The attempt does not count, for nothing failed."""
    _, job = _locked(work.job.pk)
    if job.lease_token != work.token:
        return
    job.lease_token += 1
    job.lease_expires_at = None
    job.attempt = max(job.attempt - 1, 0)
    job.save(update_fields=["attempt", "lease_token", "lease_expires_at"])
    nudge.send_task_on_commit("knowledge.tasks.run_evaluation", [str(job.pk)], "index")


def _ours(work: Work) -> tuple[KnowledgePack, EvaluationJob]:
    """The pack and the job, locked. Raises ``Fenced`` when it is not ours any more."""
    pack, job = _locked(work.job.pk)
    if job.lease_token != work.token:
        raise Fenced
    return pack, job


def _locked(job_id: UUID) -> tuple[KnowledgePack, EvaluationJob]:
    pack_id = EvaluationJob.objects.filter(pk=job_id).values_list("pack", flat=True).first()
    if pack_id is None:
        raise NotFound("There is no such evaluation.")
    pack = locked_pack(pack_id)
    job = EvaluationJob.objects.select_for_update(no_key=True).filter(pk=job_id).first()
    if job is None:
        raise NotFound("There is no such evaluation.")
    return pack, job
