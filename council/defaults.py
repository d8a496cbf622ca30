"""The council that sits when nobody says who should."""

from __future__ import annotations

from typing import TypedDict


class Agent(TypedDict, total=False):
    name: str
    role: str
    instructions: str
    model: str
    chair: bool


DEFAULT_AGENTS: tuple[Agent, ...] = (
    {
        "name": "Analyst",
        "role": "weighs evidence and figures",
        "instructions": "Look for measurements, how they were made and what they cannot show.",
    },
    {
        "name": "Skeptic",
        "role": "looks for what could go wrong",
        "instructions": "Look for risks, costs, failures and reasons why the obvious answer may be mistaken.",
    },
    {
        "name": "Practitioner",
        "role": "thinks of those who must carry it out",
        "instructions": "Look for experience from practice: effort, people, exceptions and what happens on an ordinary day.",
    },
)
DEFAULT_CHAIR: Agent = {
    "name": "Chair",
    "role": "writes the decision",
    "instructions": "Write plainly. State the outcome first, then why, then what would change it.",
    "chair": True,
}


def with_chair(agents: list[Agent]) -> list[Agent]:
    """The agents; when none of them is the chair, a neutral one on the default model joins them."""
    return agents if any(agent.get("chair") for agent in agents) else [*agents, DEFAULT_CHAIR]
