"""Who watches a stream, over all processes, and what a person watches, on which devices: sorted sets in Valkey, one for each stream and
one for each person, whose members are scored with the time at which they count no longer, so that a process that died is forgotten
by itself. Every process writes its own anew at each heartbeat: what Valkey loses is back within ``HEARTBEAT_S``.

A convenience, not a record: when the broker is away the last known number stays on the page.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from redis.client import Pipeline

from realtime import limits, nudge

KEY = "quorum:presence:"
_OF = f"{KEY}of:"  # a person's; under the other's prefix, so that what cleans one cleans both


@dataclass(frozen=True, slots=True)
class Change:
    group: str
    here: frozenset[UUID]
    gone: frozenset[UUID]


class Mark(NamedTuple):
    """One watching of a person's: what, by which credential (``auth.Identity.credential``), since when (Unix time)."""

    group: str
    credential: str
    since: int


@dataclass(frozen=True, slots=True)
class OwnChange:
    user_id: UUID
    here: frozenset[Mark]
    gone: frozenset[Mark]


class Changes(NamedTuple):
    groups: list[Change]
    people: list[OwnChange]


class Presence:
    """This process's watchers, and what has changed since it last said so. ``enter`` and ``leave`` are called on the event loop."""

    def __init__(self) -> None:
        self._process = uuid4().hex
        self._here: dict[str, Counter[UUID]] = {}
        self._changed: dict[str, set[UUID]] = {}
        self._marks: dict[UUID, Counter[Mark]] = {}
        self._marks_changed: dict[UUID, set[Mark]] = {}

    def enter(self, group: str, user_id: UUID, credential: str = "") -> Mark:
        """What ``leave`` is to be given."""
        self._here.setdefault(group, Counter())[user_id] += 1
        self._changed.setdefault(group, set()).add(user_id)
        mark = Mark(group, credential, int(time.time()))
        self._marks.setdefault(user_id, Counter())[mark] += 1
        self._marks_changed.setdefault(user_id, set()).add(mark)
        return mark

    def leave(self, user_id: UUID, mark: Mark) -> None:
        if _one_less(self._here, mark.group, user_id):
            self._changed.setdefault(mark.group, set()).add(user_id)
        if _one_less(self._marks, user_id, mark):
            self._marks_changed.setdefault(user_id, set()).add(mark)

    def changes(self) -> Changes:
        """Taken once: the next call starts afresh."""
        changed, self._changed = self._changed, {}
        marks, self._marks_changed = self._marks_changed, {}
        return Changes(
            [self._change(group, users) for group, users in changed.items()],
            [self._own_change(user_id, gone) for user_id, gone in marks.items()],
        )

    def everyone(self) -> Changes:
        return Changes(
            [self._change(group, ()) for group in self._here],
            [self._own_change(user_id, ()) for user_id in self._marks],
        )

    def write(self, changes: Changes) -> dict[str, int]:
        """Store the changes and return how many users watch each of their groups. Blocks; raises ``redis.RedisError``."""
        now = time.time()
        with nudge.client().pipeline(transaction=True) as pipe:
            for change in changes.groups:
                self._queue_group(pipe, change, now)
            answered = len(pipe.command_stack)
            for own in changes.people:
                self._queue_own(pipe, own, now)
            answers = pipe.execute()[:answered]
        if not changes.groups:
            return {}
        # The members are the last answer of each group's commands, and each group queues as many as the others.
        step = answered // len(changes.groups)
        lists = answers[step - 1 :: step]
        return {change.group: _users(members) for change, members in zip(changes.groups, lists, strict=True)}

    def _queue_group(self, pipe: Pipeline, change: Change, now: float) -> None:
        here, gone = ([self._member(user) for user in users] for users in (change.here, change.gone))
        _queue(pipe, f"{KEY}{change.group}", here, gone, now)
        pipe.zrange(f"{KEY}{change.group}", 0, -1)

    def _queue_own(self, pipe: Pipeline, change: OwnChange, now: float) -> None:
        here, gone = ([self._own_member(mark) for mark in marks] for marks in (change.here, change.gone))
        _queue(pipe, f"{_OF}{change.user_id.hex}", here, gone, now)

    def _change(self, group: str, users: Iterable[UUID]) -> Change:
        here = frozenset(self._here.get(group, ()))
        return Change(group, here, frozenset(users) - here)

    def _own_change(self, user_id: UUID, marks: Iterable[Mark]) -> OwnChange:
        here = frozenset(self._marks.get(user_id, ()))
        return OwnChange(user_id, here, frozenset(marks) - here)

    def _member(self, user_id: UUID) -> str:
        return f"{user_id.hex}:{self._process}"

    def _own_member(self, mark: Mark) -> str:
        return f"{mark.group}|{mark.credential}|{mark.since}|{self._process}"


def watched_by(user_id: UUID) -> list[Mark]:
    """What the person watches now, in all processes; each once. Blocks; raises ``redis.RedisError``."""
    found: Any = nudge.client().zrangebyscore(f"{_OF}{user_id.hex}", time.time(), "+inf")
    parts = (member.decode().split("|") for member in found)
    return sorted({Mark(group, credential, int(since)) for group, credential, since, _ in parts})


def _one_less(counts: dict[Any, Counter[Any]], of: Any, one: Any) -> bool:
    """Whether that was the last."""
    counter = counts[of]
    counter[one] -= 1
    last = not counter[one]
    if last:
        del counter[one]
    if not counter:
        del counts[of]
    return last


def _queue(pipe: Pipeline, key: str, here: Sequence[str], gone: Sequence[str], now: float) -> None:
    expires = now + limits.PRESENCE_TTL_S
    # Both lists get a member nobody has, for neither command takes none; it has expired already and is swept at once.
    pipe.zadd(key, {"-": 0, **dict.fromkeys(here, expires)})
    pipe.zrem(key, "-", *gone)
    pipe.zremrangebyscore(key, "-inf", now)
    pipe.expire(key, int(limits.PRESENCE_TTL_S) + 1)


def _users(members: Iterable[bytes]) -> int:
    return len({member.partition(b":")[0] for member in members})
