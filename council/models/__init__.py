from council.models.calls import Budget, DailyBudget, LlmCall
from council.models.decisions import Citation, Decision
from council.models.profiles import ModelProfile
from council.models.rounds import Ballot, Round, Run, Turn
from council.models.sessions import CouncilSession, Message, Seat, SessionEvent, SessionPack
from council.models.templates import CouncilTemplate, TemplateVersion

__all__ = [
    "Ballot",
    "Budget",
    "Citation",
    "CouncilSession",
    "CouncilTemplate",
    "DailyBudget",
    "Decision",
    "LlmCall",
    "Message",
    "ModelProfile",
    "Round",
    "Run",
    "Seat",
    "SessionEvent",
    "SessionPack",
    "TemplateVersion",
    "Turn",
]
