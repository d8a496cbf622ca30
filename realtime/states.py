"""State machines: one table of transitions each, read by the services and built into the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pgtrigger
from django.db import models

Transitions = Mapping[
    Any, Iterable[Any]
]  # state -> the states that may follow it; members of a TextChoices or their values


def pairs(table: Transitions) -> list[tuple[str, str]]:
    """The table as (old, new) pairs of plain strings, in a stable order: migrations record them."""
    return sorted((str(old), str(new)) for old, news in table.items() for new in news)


def state_machine(name: str, table: Transitions, field: str = "status") -> Any:
    """A trigger that refuses every change of ``field`` that the table does not list."""
    return pgtrigger.FSM(name=name, field=field, transitions=pairs(table))


def one_of(name: str, field: str, choices: Iterable[str]) -> models.CheckConstraint:
    """Choices alone bind nothing; this makes the database refuse any other value."""
    return models.CheckConstraint(condition=models.Q(**{f"{field}__in": list(choices)}), name=name)
