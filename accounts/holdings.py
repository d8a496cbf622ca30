"""What the apps above keep for a person, so that accounts can export it, remove it, count it and say what of it is open without knowing
what it is. Each of these apps makes one ``Holding`` and registers it when Django starts (``AppConfig.ready``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, NamedTuple
from uuid import UUID

from django.db.models import Model

from accounts.models import User
from realtime.models import Stream

Json = dict[str, Any]
Amount = int | Decimal


class Member(NamedTuple):
    """One file of an export. ``pieces`` are made while they are written, for it may be larger than memory."""

    name: str
    pieces: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class SharedThing:
    """Something of the person's that others use as well, and that goes with its owner unless it is given to somebody before."""

    id: UUID
    name: str
    people: int  # who have a part in it, beside the owner
    public: bool


class Holding(ABC):
    """``layer``: an app that builds on another one has the higher number, and its things go first."""

    name: ClassVar[str]
    things: ClassVar[str]  # what it has, as a list of them is called
    stream: ClassVar[type[Stream]]  # whose rows can be watched
    layer: ClassVar[int]
    owned: ClassVar[tuple[type[Model], ...]]  # whose rows name a person as their owner, and that ``purge_step`` deletes

    @abstractmethod
    def counts(self, user: User) -> Mapping[str, int]:
        """How many things of each kind the person has."""

    def shared(self, user: User) -> list[SharedThing]:
        """Those that others lose with the person."""
        return []

    def quiet(self, user: User) -> None:  # noqa: B027  # most have nothing that runs
        """End what runs. Not in a transaction; what it needs are its own."""

    @abstractmethod
    def members(self, user: User) -> Iterator[Member]:
        """Everything of the person's, as files. Not in a transaction."""

    @abstractmethod
    def purge_step(self, user_id: UUID) -> bool:
        """Delete one batch for good, in transactions of its own; False when nothing is left. Any number of workers may be at it."""

    @abstractmethod
    def holds(self, user_id: UUID) -> bool:
        """Whether anything is left of what ``purge_step`` deletes; quick, for it is asked under the lock of the person's row."""

    @abstractmethod
    def usage(self, user: User, since: datetime, until: datetime) -> Json:
        """What was used in the half-open time, in a constant number of statements."""

    @abstractmethod
    def activity(self, user: User, watched: Collection[UUID]) -> list[Json]:
        """Of the things with these ids those that the person may see, and whatever of theirs runs: ``{id, name, status, running_since}``,
        the last null where nothing runs. In a constant number of statements."""

    def meters(self) -> Mapping[str, Callable[[UUID], Amount]]:
        """How much of each limit (``quotas.LIMITS``) that this app counts a person uses now."""
        return {}


_known: Final[dict[str, Holding]] = {}


def register(holding: Holding) -> None:
    _known[holding.name] = holding


def every() -> list[Holding]:
    """The uppermost app first: what refers to something goes before it."""
    return sorted(_known.values(), key=lambda one: -one.layer)
