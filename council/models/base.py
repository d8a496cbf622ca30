"""What the council's models share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pgtrigger
from django.db import models

from council.states import Transitions, pairs


def one_of(name: str, field: str, choices: Iterable[str]) -> models.CheckConstraint:
    """Choices alone bind nothing; this makes the database refuse any other value."""
    return models.CheckConstraint(condition=models.Q(**{f"{field}__in": list(choices)}), name=name)


def state_machine(name: str, transitions: Transitions) -> Any:
    """A trigger that refuses every change of ``status`` that the table does not list."""
    return pgtrigger.FSM(name=name, field="status", transitions=pairs(transitions))
