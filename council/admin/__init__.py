"""Councils in the admin: look at everything, down to the calls of a turn, stop what runs, have a failed turn asked again, curate
templates. All changes go through services.

Ballots are sealed here as everywhere: until their round has closed, neither they nor the calls that cast them are shown.
"""

from council.admin.calls import LlmCallAdmin, MessageAdmin
from council.admin.profiles import DailyBudgetAdmin, ModelProfileAdmin
from council.admin.sessions import SessionAdmin
from council.admin.templates import TemplateAdmin
from council.admin.turns import TurnAdmin

__all__ = [
    "DailyBudgetAdmin",
    "LlmCallAdmin",
    "MessageAdmin",
    "ModelProfileAdmin",
    "SessionAdmin",
    "TemplateAdmin",
    "TurnAdmin",
]
