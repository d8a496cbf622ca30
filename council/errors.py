"""Errors of the council, under ``realtime.errors``' tree.

QuorumError
├── BudgetExhausted    a reservation would pass the session's limit
└── Fenced             another worker (or a stop) owns this turn now; the caller discards what it has and returns quietly
"""

from __future__ import annotations

from realtime.errors import IllegalState, QuorumError


class BudgetExhausted(IllegalState):
    code = "budget_exhausted"


class Fenced(QuorumError):
    code = "fenced"
