"""Errors of the domain. They know no HTTP: ``config.api`` maps them to status codes in one table.

QuorumError            code, detail
├── NotFound           the object does not exist, or not for this user
├── Forbidden          it is visible, but this user may not do that
├── InvalidInput       carries pointers into the input
├── IllegalState       the state machine has no such transition now
├── Conflict           it collides with another object
└── Unavailable        a service that this needs does not answer; try again later
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class FieldError(TypedDict):
    pointer: str  # JSON pointer into the request body, e.g. "/agents/0/name"
    detail: str


class QuorumError(Exception):
    """Base of every error that a caller may cause or has to handle. ``code`` is stable and machine-readable."""

    code = "error"

    def __init__(self, detail: str = "", *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class NotFound(QuorumError):
    code = "not_found"


class Forbidden(QuorumError):
    code = "forbidden"


class InvalidInput(QuorumError):
    code = "invalid"

    def __init__(self, detail: str = "", *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail, code=code)
        self.errors = list(errors)


class IllegalState(QuorumError):
    code = "illegal_state"


class Conflict(QuorumError):
    code = "conflict"


class Unavailable(QuorumError):
    code = "unavailable"
