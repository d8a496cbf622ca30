"""Who watches a stream, over all processes: one sorted set per stream in Valkey, members ``user:process`` scored with the time
at which they count no longer, so that a process that died is forgotten by itself.

A convenience, not a record: when the broker is away the last known number stays on the page.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from redis.client import Pipeline

from realtime import limits, nudge

KEY = "quorum:presence:"


@dataclass(frozen=True, slots=True)
class Change:
    group: str
    here: frozenset[UUID]
    gone: frozenset[UUID]


class Presence:
    """This process's watchers, and what has changed since it last said so. ``enter`` and ``leave`` are called on the event loop."""

    def __init__(self) -> None:
        self._process = uuid4().hex
        self._here: dict[str, Counter[UUID]] = {}
        self._changed: dict[str, set[UUID]] = {}

    def enter(self, group: str, user_id: UUID) -> None:
        self._here.setdefault(group, Counter())[user_id] += 1
        self._changed.setdefault(group, set()).add(user_id)

    def leave(self, group: str, user_id: UUID) -> None:
        users = self._here[group]
        users[user_id] -= 1
        if not users[user_id]:
            del users[user_id]
            self._changed.setdefault(group, set()).add(user_id)
        if not users:
            del self._here[group]

    def changes(self) -> list[Change]:
        """Taken once: the next call starts afresh."""
        changed, self._changed = self._changed, {}
        return [self._change(group, users) for group, users in changed.items()]

    def everyone(self) -> list[Change]:
        return [self._change(group, ()) for group in self._here]

    def write(self, changes: Sequence[Change]) -> dict[str, int]:
        """Store the changes and return how many users watch each of their groups. Blocks; raises ``redis.RedisError``."""
        now = time.time()
        with nudge.client().pipeline(transaction=True) as pipe:
            for change in changes:
                self._queue(pipe, change, now)
            answers = pipe.execute()
        # The members are the last answer of each group's commands, and each group queues as many as the others.
        step = len(answers) // len(changes)
        lists = answers[step - 1 :: step]
        return {change.group: _users(members) for change, members in zip(changes, lists, strict=True)}

    def _queue(self, pipe: Pipeline, change: Change, now: float) -> None:
        key = f"{KEY}{change.group}"
        expires = now + limits.PRESENCE_TTL_S
        # Both lists get a member nobody has, for neither command takes none; it has expired already and is swept at once.
        pipe.zadd(key, {"-": 0, **{self._member(user): expires for user in change.here}})
        pipe.zrem(key, "-", *(self._member(user) for user in change.gone))
        pipe.zremrangebyscore(key, "-inf", now)
        pipe.expire(key, int(limits.PRESENCE_TTL_S) + 1)
        pipe.zrange(key, 0, -1)

    def _change(self, group: str, users: Iterable[UUID]) -> Change:
        here = frozenset(self._here.get(group, ()))
        return Change(group, here, frozenset(users) - here)

    def _member(self, user_id: UUID) -> str:
        return f"{user_id.hex}:{self._process}"


def _users(members: Iterable[bytes]) -> int:
    return len({member.partition(b":")[0] for member in members})
