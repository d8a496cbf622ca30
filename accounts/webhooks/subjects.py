"""What messages are about. This app knows neither councils nor packs: theirs say who may know of one and where it is to be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from accounts.models import User


class Subject(NamedTuple):
    path: str  # of one in the API, with {} for its id
    may_know: Callable[[User, UUID], bool]


_known: dict[str, Subject] = {}


def register(kind: str, path: str, may_know: Callable[[User, UUID], bool]) -> None:
    """``kind`` is the first word of its events: ``session``, ``pack``. When apps are loaded."""
    _known[kind] = Subject(path, may_know)


def path(kind: str, pk: str) -> str:
    return _known[kind].path.format(pk)


def may_know(user: User, kind: str, pk: str) -> bool:
    """Whether this person may still be told of it."""
    return _known[kind].may_know(user, UUID(pk))
