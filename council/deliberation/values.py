"""The base of all values of a deliberation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all values: immutable, and strict about unknown fields so that a stored record cannot drift silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")
