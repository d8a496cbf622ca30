"""One action on entries of any number and of several packs: in slices, so that no transaction is long, and, when they are too many
for a request to wait for, by a worker, with a record of how far it is.

The record lies in Valkey for a day. Rows are truth: each slice is committed by ``bulk_entries`` before the record says so, and doing
a slice again changes nothing. A worker that dies leaves a lock that runs out; the sweeper wakes another one. When
Valkey loses the record, what was done stays done and the rest has to be chosen again.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, cast
from uuid import UUID

from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from accounts.middleware import as_actor
from accounts.models import User
from knowledge.models import Entry, KnowledgePack
from knowledge.services.bulk import Action, bulk_entries
from realtime import nudge, stopping
from realtime.actor import acting
from realtime.errors import NotFound, QuorumError, Unavailable
from realtime.ids import uuid7

TASK: Final = "knowledge.tasks.run_bulk_job"
AT_ONCE: Final = 200  # entries that a request waits for
SLICE: Final = 200  # entries in one transaction of a pack
KEPT_S: Final = 86_400
LOCK_S: Final = 120.0  # far more than a slice takes
SILENT_S: Final = 10.0  # then the sweeper, or whoever looks, wakes another worker
REFUSED_KEPT: Final = 50  # reasons
RUNNING: Final = "quorum:bulk:running"
_CHUNK: Final = 5000  # ids in one command


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: actions of ``bulk_entries`` one after the other, each with its tags; ``to`` is the pack to move to."""

    title: str
    steps: tuple[tuple[Action, tuple[str, ...]], ...]
    permission: str  # Django's; asked again of the person by the worker
    to: UUID | None = None


@dataclass(slots=True)
class Outcome:
    changed: int = 0
    unchanged: int = 0
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Progress:
    """``state`` is running, done or stopped. ``refused`` counts; ``reasons`` are the first of them."""

    id: UUID
    order: Order
    author: UUID
    state: str
    total: int
    done: int
    changed: int
    unchanged: int
    refused: int
    reasons: list[str]
    silent_s: float


def carry_out(order: Order, author: User | None, ids: Sequence[UUID]) -> Outcome:
    """Now, in slices. What one entry, or a whole pack, refuses does not hold up the others."""
    outcome = Outcome()
    target = KnowledgePack.objects.filter(pk=order.to).first() if order.to else None
    if order.to and target is None:
        raise NotFound("There is no such knowledge pack to move to.")
    for slice_ in _slices(ids, SLICE):
        by_pack: dict[UUID, list[UUID]] = defaultdict(list)
        for pack_id, entry_id in Entry.objects.filter(pk__in=slice_).order_by("pack").values_list("pack", "pk"):
            by_pack[pack_id].append(entry_id)
        for pack in KnowledgePack.objects.filter(pk__in=by_pack).order_by("pk"):
            _in_pack(outcome, order, author, pack, target, by_pack[pack.pk])
    return outcome


def _in_pack(
    outcome: Outcome,
    order: Order,
    author: User | None,
    pack: KnowledgePack,
    target: KnowledgePack | None,
    ids: list[UUID],
) -> None:
    changed: set[UUID] = set()
    errors: dict[UUID, QuorumError] = {}
    try:
        for action, tags in order.steps:
            for result in bulk_entries(pack, author, action, ids, tags=tags, to=target):
                if result.error:
                    errors[result.id] = result.error
                elif result.status == "updated":
                    changed.add(result.id)
    except QuorumError as error:  # the pack as a whole
        outcome.refused.extend([f"{pack.name}: {error.detail}"] * len(ids))
        return
    titles = dict(Entry.objects.filter(pk__in=errors).values_list("pk", "title"))
    outcome.refused.extend(f"{titles.get(one, one)}: {error.detail}" for one, error in errors.items())
    outcome.changed += len(changed - errors.keys())
    outcome.unchanged += len(ids) - len(changed | errors.keys())


# --- By a worker ------------------------------------------------------------------------------------------------------


def start(order: Order, author: User, ids: Sequence[UUID]) -> UUID:
    """Have a worker do it. Raises ``Unavailable`` when Valkey does not take the record."""
    job = uuid7()
    fields: dict[Any, Any] = {
        "order": json.dumps(asdict(order), default=str),
        "author": str(author.pk),
        "state": "running",
    }
    numbers: dict[Any, Any] = {
        "total": len(ids),
        "done": 0,
        "changed": 0,
        "unchanged": 0,
        "refused": 0,
        "at": time.time(),
    }
    try:
        for chunk in _slices(ids, _CHUNK):
            nudge.client().rpush(_ids(job), *(one.bytes for one in chunk))
        with nudge.client().pipeline() as pipe:
            pipe.hset(_key(job), mapping={**fields, **numbers})
            for key in (_key(job), _ids(job)):
                pipe.expire(key, KEPT_S)
            pipe.sadd(RUNNING, str(job))
            pipe.execute()
    except RedisError as error:
        raise Unavailable("The queue does not answer; nothing was changed.", code="queue_unavailable") from error
    nudge.send_task_on_commit(TASK, [str(job)], "index")
    return job


def progress(job: UUID) -> Progress:
    """How far it is. Raises ``NotFound`` for a record that is not there (any more), ``Unavailable`` when nobody can tell."""
    try:
        raw = nudge.client().hgetall(_key(job))
        reasons = nudge.client().lrange(_reasons(job), 0, -1)
    except RedisError as error:
        raise Unavailable("How far it is cannot be read just now.", code="queue_unavailable") from error
    found = {name.decode(): value.decode() for name, value in raw.items()}  # type: ignore[union-attr]  # not awaitable here
    if not found:
        raise NotFound("There is no record of this bulk action; records are kept for a day.")
    counts = {name: int(found[name]) for name in ("total", "done", "changed", "unchanged", "refused")}
    return Progress(
        id=job,
        order=_order(json.loads(found["order"])),
        author=UUID(found["author"]),
        state=found["state"],
        reasons=[reason.decode() for reason in reasons],  # type: ignore[union-attr]  # not awaitable here
        silent_s=time.time() - float(found["at"]),
        **counts,
    )


def wake(seen: Progress) -> None:
    """Another worker, where the last one has not been heard of for a while; at most one in that time."""
    if seen.state == "running" and seen.silent_s > SILENT_S:
        nudge.client().hset(_key(seen.id), "at", str(time.time()))
        nudge.send_task(TASK, [str(seen.id)], "index", expires_s=SILENT_S)


def wake_lost() -> None:
    """For the sweeper: workers for actions that nobody is at."""
    for raw in cast("set[bytes]", nudge.client().smembers(RUNNING)):
        try:
            seen = progress(UUID(raw.decode()))
        except NotFound:
            seen = None
        if seen is None or seen.state != "running":
            nudge.client().srem(RUNNING, raw)
        else:
            wake(seen)


def stop(job: UUID) -> None:
    """After the present slice. What was done stays."""
    if progress(job).state == "running":
        nudge.client().hset(_key(job), "state", "stopped")


def work(job: UUID, until: float) -> bool:
    """Go on until ``time.monotonic()`` is ``until``; whether something is left. Does nothing while another worker is at it."""
    lock = nudge.client().lock(f"{_key(job)}:lock", timeout=LOCK_S, blocking=False)
    if not lock.acquire():
        return False
    try:
        return _work(job, until, lock)
    except LockError:
        return False  # a slice took so long that another worker has taken over
    finally:
        if lock.owned():
            lock.release()


def _work(job: UUID, until: float, lock: Lock) -> bool:
    while (seen := progress(job)).state == "running":
        if stopping.over(until):
            return True
        _slice(seen)
        lock.reacquire()
    return False


def _slice(seen: Progress) -> None:
    author = User.objects.filter(pk=seen.author, is_active=True, is_staff=True).first()
    ids = _chosen(seen)
    if author is None or not author.has_perm(seen.order.permission):
        _record(seen.id, [], Outcome(refused=["Whoever asked for this may not do it any more."]), state="stopped")
        return
    with acting(lambda: as_actor(author)):
        outcome = carry_out(seen.order, author, ids)
    _record(seen.id, ids, outcome, state="done" if seen.done + len(ids) >= seen.total else "")


def _chosen(seen: Progress) -> list[UUID]:
    raw = nudge.client().lrange(_ids(seen.id), seen.done, seen.done + SLICE - 1)
    return [UUID(bytes=one) for one in cast("list[bytes]", raw)]


def _record(job: UUID, ids: Sequence[UUID], outcome: Outcome, *, state: str) -> None:
    gone = len(ids) - outcome.changed - outcome.unchanged - len(outcome.refused)
    refused = [*outcome.refused, *(["An entry is not there any more."] if ids and gone else [])]
    with nudge.client().pipeline() as pipe:
        pipe.hincrby(_key(job), "done", len(ids))
        pipe.hincrby(_key(job), "changed", outcome.changed)
        pipe.hincrby(_key(job), "unchanged", outcome.unchanged)
        pipe.hincrby(_key(job), "refused", len(outcome.refused) + (gone if ids else 0))
        pipe.hset(_key(job), mapping={"at": time.time(), **({"state": state} if state else {})})
        if distinct := list(dict.fromkeys(refused)):
            pipe.rpush(_reasons(job), *distinct[:REFUSED_KEPT])
            pipe.ltrim(_reasons(job), 0, REFUSED_KEPT - 1)
            pipe.expire(_reasons(job), KEPT_S)
        pipe.execute()


def _order(raw: dict[str, Any]) -> Order:
    steps = tuple((action, tuple(tags)) for action, tags in raw["steps"])
    return Order(raw["title"], steps, raw["permission"], UUID(raw["to"]) if raw["to"] else None)


def _slices(ids: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _key(job: UUID) -> str:
    return f"quorum:bulk:{job}"


def _ids(job: UUID) -> str:
    return f"{_key(job)}:ids"


def _reasons(job: UUID) -> str:
    return f"{_key(job)}:reasons"
