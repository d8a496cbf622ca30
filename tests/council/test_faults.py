"""The fault table of docs/faults.md: each way in which a model fails, in each stage, for one, half and all of the seats.

Every combination runs a council of four voters and a chair against a model server that fails that way over real HTTP. The whole
table is marked ``deep``; the suite runs a sample that has every fault, every stage and every share.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from accounts.models import User
from council import services, sweeper
from council.llm import backoff
from council.models import Budget, CouncilSession, Decision, LlmCall, Turn
from council.recount import recount
from tests.support.councils import Convene, pending, run
from tests.support.fake_openai import FakeModelServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

Share = Literal["one", "half", "all"]
VOTERS = ("fake-option-1-a", "fake-option-2-b", "fake-option-1-c", "fake-option-3-d")
CHAIR = "fake-chair"
ATTEMPTS = 4  # settings.TURN_MODEL_ERRORS_MAX
DEADLINE_S = 2  # of a turn, in the councils whose models hang
PATIENCE_S = 60


@dataclass(frozen=True)
class Fault:
    """``calls``: how often a seat is asked before its turn fails; ``charged``: whether those calls cost something."""

    rule: dict[str, Any]
    errors: tuple[str, ...]
    calls: int
    charged: bool


FAULTS = {
    "500": Fault({"status": 500}, ("server_error",), ATTEMPTS, False),
    "429": Fault({"status": 429, "retry_after": "0.05"}, ("rate_limited",), ATTEMPTS, False),
    "hang": Fault({"hang_s": 3600.0}, ("timeout",), 1, True),
    "cut": Fault({"cut_after": 3}, ("cut_stream",), ATTEMPTS, True),
    "invalid JSON": Fault({"malformed": "text"}, ("not_json", "wrong_schema"), 2 * ATTEMPTS, True),
    "refusal": Fault({"refusal": True}, ("refused",), 1, True),
    "empty": Fault({"empty": True}, ("empty_reply",), ATTEMPTS, True),
    "wrong schema": Fault({"wrong_schema": True}, ("wrong_schema", "empty"), 2 * ATTEMPTS, True),
    "100k tokens": Fault({"flood": 100_000, "tokens_per_write": 2048}, ("too_long",), ATTEMPTS, True),
}
STAGES = ("opening", "debate", "ballot", "synthesis")
SHARES: tuple[Share, ...] = ("one", "half", "all")
# Who is broken. In the synthesis the chair writes, and the two dissenters beside it.
BROKEN = {"one": VOTERS[:1], "half": VOTERS[:2], "all": VOTERS}
BROKEN_WRITERS = {"one": (CHAIR,), "half": (CHAIR, VOTERS[1]), "all": (CHAIR, *VOTERS)}

SAMPLE = [
    ("500", "opening", "all"),
    ("429", "ballot", "one"),
    ("hang", "debate", "half"),
    ("cut", "synthesis", "one"),
    ("invalid JSON", "opening", "half"),
    ("refusal", "debate", "all"),
    ("empty", "synthesis", "all"),
    ("wrong schema", "ballot", "all"),
    ("100k tokens", "opening", "one"),
]
TABLE = [(fault, stage, share) for fault in FAULTS for stage in STAGES for share in SHARES]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts; how long they are has tests of its own."""
    monkeypatch.setattr(backoff, "BASE_S", 0.02)


@pytest.mark.parametrize(("name", "stage", "share"), SAMPLE)
def test_the_sample(user: User, convene: Convene, fake: FakeModelServer, name: str, stage: str, share: Share) -> None:
    check(user, convene, fake, name, stage, share)


@pytest.mark.deep
@pytest.mark.parametrize(("name", "stage", "share"), [row for row in TABLE if row not in SAMPLE])
def test_the_rest_of_the_table(
    user: User, convene: Convene, fake: FakeModelServer, name: str, stage: str, share: Share
) -> None:
    check(user, convene, fake, name, stage, share)


def check(user: User, convene: Convene, fake: FakeModelServer, name: str, stage: str, share: Share) -> None:
    fault = FAULTS[name]
    broken = (BROKEN_WRITERS if stage == "synthesis" else BROKEN)[share]
    protocol = {"preset": "debate", **({"turn_deadline_s": DEADLINE_S} if name == "hang" else {})}
    session = services.start(user, convene((*VOTERS, CHAIR), protocol=protocol).pk)
    see_through(session, fake, stage, [{"model": model, **fault.rule} for model in broken])
    check_outcome(session, stage, share)
    check_turns(session, fault, stage, broken)
    check_charges(session, fault, stage, broken)
    # Nothing was asked of a model that is not in the record.
    assert len(fake.requests) == LlmCall.objects.filter(session=session).count()


def see_through(session: CouncilSession, fake: FakeModelServer, stage: str, rules: list[dict[str, Any]]) -> None:
    """As workers and the sweeper would, the models being broken in that stage only."""
    until = time.monotonic() + PATIENCE_S
    while session.status == "running":
        assert time.monotonic() < until, "the council is stuck"
        if turns := pending(session):
            fake.set_rules(*(rules if turns[0].round.stage == stage else []))
            with ThreadPoolExecutor(1) as worker:
                worker.submit(run, session, turns).result()
        else:
            sweeper.sweep()
            time.sleep(0.01)
        session.refresh_from_db()


def check_outcome(session: CouncilSession, stage: str, share: Share) -> None:
    """Quorum is two of four: half of the seats may fail anywhere, all of them only when the decision is written."""
    decision = Decision.objects.filter(run__session=session).first()
    if share == "all" and stage != "synthesis":
        assert (session.status, session.reason, decision) == ("failed", "quorum_not_met", None)
        return
    assert decision is not None
    assert (session.status, decision.outcome) == ("completed", "decided")
    source = ("verbatim" if share == "all" else "stand_in") if stage == "synthesis" else "chair"
    assert decision.source == source
    failed = Turn.objects.filter(session=session, status="failed").select_related("seat", "round")
    lost = {(turn.seat.name, turn.round.stage, turn.error) for turn in failed if turn.seat}
    assert {(one["name"], one["stage"], one["error"]) for one in decision.missing} == lost
    assert decision.notes
    assert recount(session)["agrees"]


def check_turns(session: CouncilSession, fault: Fault, stage: str, broken: tuple[str, ...]) -> None:
    """Whoever was asked in that stage and is broken has failed with the error that says why; nobody else has."""
    asked = Turn.objects.filter(session=session, seat__isnull=False)
    ended = set(asked.filter(round__stage=stage, seat__model__in=broken))
    assert ended
    assert {turn.status for turn in ended} == {"failed"}
    assert {turn.error for turn in ended} <= set(fault.errors)
    assert {turn.status for turn in asked if turn not in ended} <= {"completed"}


def check_charges(session: CouncilSession, fault: Fault, stage: str, broken: tuple[str, ...]) -> None:
    calls = list(LlmCall.objects.filter(session=session).select_related("turn__seat", "turn__round"))
    budget = Budget.objects.get(session=session)
    assert budget.tokens_used == sum(call.prompt_tokens + call.completion_tokens for call in calls)
    assert budget.calls == len(calls)
    assert (budget.tokens_reserved, budget.calls_reserved, budget.seconds_reserved) == (0, 0, 0)
    failed = [call for call in calls if call.turn.status == "failed"]
    assert {call.turn_id: 0 for call in failed}.keys() == {
        turn.pk for turn in Turn.objects.filter(session=session, status="failed")
    }
    per_turn = {turn: sum(call.turn_id == turn for call in failed) for turn in {call.turn_id for call in failed}}
    assert set(per_turn.values()) == {fault.calls}
    assert all((call.prompt_tokens > 0) == fault.charged for call in failed)
