"""Errors of the council, under ``realtime.errors``' tree.

QuorumError
├── BudgetExhausted    a reservation would pass a limit of the session or of its owner's day
├── BudgetBusy         it would for now: running calls have reserved what is left, and may turn out cheaper
└── Fenced             another worker (or a stop) owns this turn now; the caller discards what it has and returns quietly
"""

from __future__ import annotations

from realtime.errors import IllegalState, QuorumError


class BudgetExhausted(IllegalState):
    code = "budget_exhausted"


class BudgetBusy(IllegalState):
    code = "budget_busy"


class Fenced(QuorumError):
    code = "fenced"
