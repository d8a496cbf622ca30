"""Budgets of a session and of a person's day, in tokens, money, calls and seconds: never passed, whoever asks at once."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from council import budgets, claims, selectors, services, spend, sweeper
from council.claims import Claim
from council.deliberation.types import Prompt
from council.errors import BudgetBusy, BudgetExhausted
from council.models import Budget, CouncilSession, DailyBudget, Decision, LlmCall, SessionEvent
from realtime.errors import InvalidInput
from tests.conftest import Api
from tests.support.councils import Convene, conclude, pending, work
from tests.support.fake_openai import FakeModelServer

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = {"tokens": "tokens_used", "usd": "usd_used", "calls": "calls", "seconds": "seconds_used"}
SEATS = 3
_numbers = count(1)


@pytest.fixture
def seats(user: User, convene: Convene) -> list[Claim]:
    """Claimed turns of one running session, in whose names calls are opened."""
    session = services.start(user, convene().pk)
    return claims.claim(session.pk, [turn.pk for turn in pending(session)], "test").claims


def call_of(claim: Claim, tokens: int = 100, usd: Decimal = Decimal(0), seconds: float = 60) -> budgets.NewCall:
    return budgets.NewCall(claim, Prompt(system="", user="?"), next(_numbers), "fake", tokens, usd=usd, seconds=seconds)


def open_one(claim: Claim, **most: Any) -> budgets.Opened:
    with transaction.atomic():
        return budgets.open_calls([call_of(claim, **most)])[0]


def settle(opened: budgets.Opened, **used: Any) -> None:
    with transaction.atomic():
        budgets.settle([budgets.Settlement(opened.id, LlmCall.Status.OK, **used)])


def limit(claim: Claim, **limits: Any) -> None:
    """As after a fresh start, with these limits."""
    LlmCall.objects.filter(session=claim.session_id).delete()
    cleared = dict.fromkeys((*FIELDS.values(), *(f"{name}_reserved" for name in FIELDS)), 0)
    Budget.objects.filter(session=claim.session_id).update(
        **cleared, **{f"{name}_limit": limits.get(name) for name in FIELDS}
    )


# --- The property ---------------------------------------------------------------------------------------------------------


class Seat(threading.Thread):
    """Calls until the budget is used up; ``plan`` says of each call what it reserves and which share of it it uses."""

    def __init__(self, claim: Claim, plan: list[tuple[int, float]]) -> None:
        super().__init__()
        self.claim, self.plan, self.fault = claim, plan, ""

    def run(self) -> None:
        try:
            for most, share in self.plan:
                if not self._call(most, share):
                    return
        except Exception as error:  # noqa: BLE001  # told to the test, which is another thread
            self.fault = repr(error)
        finally:
            connection.close()

    def _call(self, most: int, share: float) -> bool:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                opened = open_one(self.claim, tokens=most, usd=Decimal(most) / 1000, seconds=most)
            except BudgetBusy:
                time.sleep(0.002)
                continue
            except BudgetExhausted:
                return False
            self._check()
            settle(
                opened,
                prompt_tokens=int(most * share),
                usd=(Decimal(most) / 1000 * Decimal(share)).quantize(Decimal("1e-9")),
                seconds=opened.seconds * share,
            )
            return True
        raise TimeoutError("the budget stayed busy")

    def _check(self) -> None:
        """What is used and reserved together fits at every moment, not only in the end."""
        now = Budget.objects.get(session=self.claim.session_id)
        for name, field in FIELDS.items():
            most = getattr(now, f"{name}_limit")
            assert most is None or getattr(now, field) + getattr(now, f"{name}_reserved") <= most, name


PLANS = st.lists(
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=4), min_size=SEATS, max_size=SEATS
)


@pytest.mark.parametrize("name", FIELDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=PLANS, most=st.integers(2, 900))
@pytest.mark.forges
def test_concurrent_seats_never_pass_a_limit(
    seats: list[Claim], name: str, plans: list[list[tuple[int, float]]], most: int
) -> None:
    """Of whatever seats ask for at once, and however much less they use of it."""
    limits = {"tokens": most, "usd": Decimal(most) / 1000, "calls": 1 + most % 7, "seconds": most}
    limit(seats[0], **{name: limits[name]})
    together = [Seat(claim, plan) for claim, plan in zip(seats, plans, strict=True)]
    for seat in together:
        seat.start()
    for seat in together:
        seat.join()
    assert [seat.fault for seat in together if seat.fault] == []
    ended = Budget.objects.get(session=seats[0].session_id)
    assert getattr(ended, FIELDS[name]) <= limits[name]
    assert [getattr(ended, f"{each}_reserved") for each in FIELDS] == [0, 0, 0, 0]


@pytest.mark.forges
def test_a_call_that_costs_more_than_it_reserved_is_the_last(seats: list[Claim]) -> None:
    limit(seats[0], tokens=1000)
    settle(open_one(seats[0], tokens=900), prompt_tokens=1300)
    with pytest.raises(BudgetExhausted):
        open_one(seats[1], tokens=1)
    assert Budget.objects.get(session=seats[0].session_id).tokens_used == 1300


@pytest.mark.forges
def test_a_refusal_leaves_nothing_behind(seats: list[Claim]) -> None:
    limit(seats[0], calls=2)
    with pytest.raises(BudgetExhausted), transaction.atomic():
        budgets.open_calls([call_of(claim) for claim in seats])
    assert not LlmCall.objects.filter(session=seats[0].session_id).exists()
    assert Budget.objects.get(session=seats[0].session_id).calls_reserved == 0


@pytest.mark.forges
def test_what_running_calls_have_reserved_is_waited_for(seats: list[Claim]) -> None:
    limit(seats[0], tokens=1000)
    running = open_one(seats[0], tokens=800)
    with pytest.raises(BudgetBusy):
        open_one(seats[1], tokens=300)
    settle(running, prompt_tokens=500)
    assert open_one(seats[1], tokens=300)


@pytest.mark.forges
def test_a_call_gets_at_most_half_of_the_seconds_that_are_left(seats: list[Claim]) -> None:
    limit(seats[0], seconds=100)
    first, second = open_one(seats[0], seconds=300), open_one(seats[1], seconds=300)
    assert (first.seconds, second.seconds) == (50, 25)
    assert open_one(seats[2], seconds=3).seconds == 3


def test_a_call_whose_worker_died_is_charged_with_all_that_it_had_reserved(seats: list[Claim]) -> None:
    opened = open_one(seats[0], tokens=300, usd=Decimal("0.25"), seconds=40)
    old = timezone.now() - timedelta(seconds=sweeper.ORPHAN_S + 1)
    LlmCall.objects.filter(pk=opened.id).update(started_at=old, attempt=0)
    assert sweeper.settle_orphans() == 1
    budget = Budget.objects.get(session=seats[0].session_id)
    assert (budget.tokens_used, budget.usd_used, budget.calls, budget.seconds_used) == (300, Decimal("0.25"), 1, 40)
    assert (budget.tokens_reserved, budget.usd_reserved, budget.calls_reserved, budget.seconds_reserved) == (0, 0, 0, 0)


def test_calls_are_opened_only_where_a_refusal_can_be_rolled_back(seats: list[Claim]) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        budgets.open_calls([call_of(seats[0])])


# --- A person's day -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELDS)
def test_a_persons_day_limits_all_their_sessions(user: User, seats: list[Claim], convene: Convene, name: str) -> None:
    other = services.start(user, convene().pk)
    [elsewhere, *_] = claims.claim(other.pk, [turn.pk for turn in pending(other)], "test").claims
    amounts = {"tokens": 150, "usd": Decimal("0.15"), "calls": 1, "seconds": 100}
    budgets.set_daily_limits(user, {name: amounts[name]})
    first = open_one(seats[0], tokens=100, usd=Decimal("0.1"), seconds=60)
    settle(first, prompt_tokens=100, usd=Decimal("0.1"), seconds=99)
    with pytest.raises(BudgetExhausted, match="of the day"):
        open_one(elsewhere, tokens=100, usd=Decimal("0.1"), seconds=60)
    assert Budget.objects.get(session=other).tokens_reserved == 0


def test_sessions_that_ask_together_never_pass_a_persons_day(user: User, seats: list[Claim], convene: Convene) -> None:
    other = services.start(user, convene().pk)
    elsewhere = claims.claim(other.pk, [turn.pk for turn in pending(other)], "test").claims
    budgets.set_daily_limits(user, {"tokens": 1000, "usd": Decimal("0.9")})
    together = [Seat(claim, [(70 + 40 * n, 0.9)] * 6) for n, claim in enumerate([*seats, *elsewhere])]
    for seat in together:
        seat.start()
    for seat in together:
        seat.join()
    assert [seat.fault for seat in together if seat.fault] == []
    day = DailyBudget.objects.get(user=user)
    assert 700 < day.tokens_used <= 1000
    assert day.usd_used <= Decimal("0.9")
    assert (day.tokens_reserved, day.usd_reserved, day.calls_reserved, day.seconds_reserved) == (0, 0, 0, 0)
    used = Budget.objects.filter(session__in=[seats[0].session_id, other.pk])
    assert sum(budget.tokens_used for budget in used) == day.tokens_used


def test_a_new_day_begins_at_nothing(user: User, seats: list[Claim]) -> None:
    budgets.set_daily_limits(user, {"tokens": 150})
    settle(open_one(seats[0]), prompt_tokens=100)
    DailyBudget.objects.update(day=budgets.today() - timedelta(days=1))
    settle(open_one(seats[0]), prompt_tokens=90)
    budget = DailyBudget.objects.get(user=user)
    assert (budget.day, budget.tokens_used, budget.tokens_reserved) == (budgets.today(), 90, 0)


def test_a_limit_set_in_mid_day_counts_what_was_used_and_is_running(user: User, seats: list[Claim]) -> None:
    settle(open_one(seats[0], usd=Decimal(1)), prompt_tokens=70, completion_tokens=7, usd=Decimal("0.5"), seconds=2)
    running = open_one(seats[1], tokens=30)
    budget = budgets.set_daily_limits(user, {"tokens": 100})
    assert (budget.tokens_used, budget.tokens_reserved, budget.calls, budget.calls_reserved) == (77, 30, 1, 1)
    assert (budget.usd_used, budget.seconds_used) == (Decimal("0.5"), 2)
    settle(running, prompt_tokens=10)
    assert DailyBudget.objects.get().tokens_used == 87


def test_whoever_has_no_limit_pays_no_row(user: User, convene: Convene) -> None:
    conclude(user, convene())
    assert not DailyBudget.objects.exists()


def test_a_day_that_is_used_up_ends_the_council_honestly(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    work(session, limit=1)
    budgets.set_daily_limits(user, {"calls": Budget.objects.get(session=session).calls})
    work(session)
    assert session.status == "completed"
    assert Decision.objects.get(run__session=session).outcome == "partial"


# --- Councils ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def priced(settings: LazySettings) -> None:
    settings.LLM_PRICE_IN, settings.LLM_PRICE_OUT, settings.LLM_PRICE_CACHED = Decimal(2), Decimal(8), None


def see_through(session: CouncilSession, seconds: float = 20) -> CouncilSession:
    """Work and sweep until the run has ended, waiting for turns that wait for the budget."""
    until = time.monotonic() + seconds
    while work(session).status == "running":
        assert time.monotonic() < until, "the council stands still"
        sweeper.sweep()
        time.sleep(0.05)
    return session


def short_of_the_last_call(session: CouncilSession, name: str) -> Any:
    """A limit that covers all calls of such a council but the last."""
    *before, last = LlmCall.objects.filter(session=session).order_by("started_at", "id")
    return {
        "tokens": sum(call.prompt_tokens + call.completion_tokens for call in before) + last.tokens_reserved * 9 // 10,
        "usd": sum(call.usd for call in before) + last.usd_reserved * 9 / 10,
        "calls": len(before),
        "seconds": Decimal(1),  # nothing can be called with half a second, so not even the opening is
    }[name]


@pytest.mark.parametrize("name", FIELDS)
def test_a_council_stops_at_its_limit_with_what_it_has(user: User, convene: Convene, priced: None, name: str) -> None:
    most = short_of_the_last_call(conclude(user, convene(("", "", "", ""))), name)
    session = see_through(services.start(user, convene(("", "", "", ""), budget={name: most}).pk))
    assert session.runs.get().exhausted == "budget"
    budget = Budget.objects.get(session=session)
    assert getattr(budget, FIELDS[name]) <= most
    assert (budget.tokens_reserved, budget.usd_reserved, budget.calls_reserved, budget.seconds_reserved) == (0, 0, 0, 0)
    decided = Decision.objects.filter(run__session=session).first()
    expected = ("failed", None) if name == "seconds" else ("completed", "partial")
    assert (session.status, decided.outcome if decided else None) == expected
    assert "budget.exhausted" in SessionEvent.objects.filter(stream=session).values_list("type", flat=True)


def test_what_a_council_costs_is_the_sum_of_its_calls(user: User, convene: Convene, priced: None) -> None:
    session = conclude(user, convene(("", "", "", "")))
    calls = LlmCall.objects.filter(session=session)
    assert all(call.usd == Decimal(2 * call.prompt_tokens + 8 * call.completion_tokens) / 10**6 for call in calls)
    budget = Budget.objects.get(session=session)
    assert (budget.usd_used, budget.calls) == (sum(call.usd for call in calls), len(calls))
    assert budget.seconds_used == sum(call.seconds for call in calls) > 0


def test_money_is_limited_only_where_prices_are_known(convene: Convene, priced: None) -> None:
    with pytest.raises(InvalidInput) as caught:
        convene(("", "", "fake-of-unknown-price", ""), budget={"usd": Decimal(1)})
    assert caught.value.errors == [
        {"pointer": "/budget/usd", "detail": "The price of the model 'fake-of-unknown-price' is unknown."}
    ]


# --- API ----------------------------------------------------------------------------------------------------------------------


def body(response: Any) -> Any:
    return json.loads(response.content)


def test_budget_and_usage_have_four_measures(api: Api, fake: FakeModelServer, priced: None) -> None:
    budget = {"tokens": 5000, "usd": 0.25, "calls": 40, "seconds": 90}
    made = body(api.post("/api/council-sessions", {"question": "Tabs or spaces?", "budget": budget}))
    assert made["budget"] == budget
    assert made["usage"] == {"tokens": 0, "usd": 0, "calls": 0, "seconds": 0}
    path = f"/api/council-sessions/{made['id']}"
    assert body(api.patch(path, {"budget": {"usd": None, "calls": 50}}))["budget"] == {
        "tokens": 5000, "usd": None, "calls": 50, "seconds": 90,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"usd": 0}, {"usd": "NaN"}, {"calls": 1.5}, {"seconds": 0.5}])
def test_a_limit_that_is_none_is_refused(api: Api, fake: FakeModelServer, priced: None, wrong: Any) -> None:
    answer = api.post("/api/council-sessions", {"question": "Tabs or spaces?", "budget": wrong})
    assert answer.status_code == 400
    assert body(answer)["errors"][0]["pointer"] == f"/budget/{next(iter(wrong))}"


def test_the_budget_of_a_running_council_is_extended(api: Api, user: User, convene: Convene) -> None:
    session = services.start(user, convene(budget={"calls": 3}).pk)
    work(session, limit=1)
    path = f"/api/council-sessions/{session.pk}"
    assert body(api.patch(path, {"budget": {"calls": 30}}))["budget"]["calls"] == 30
    assert api.patch(path, {"budget": {"calls": 30}, "question": "Or both?"}).status_code == 409
    assert see_through(session).status == "completed"
    assert session.runs.get().exhausted == ""
    shown = selectors.session_snapshot(session.pk)["session"]
    assert shown["usage"]["calls"] > 3


# --- Spend ----------------------------------------------------------------------------------------------------------------------


def test_spend_is_summed_by_day_and_model(user: User, other_user: User, convene: Convene, priced: None) -> None:
    session = conclude(user, convene(("", "fake-option-1", "fake-400", "")))
    rows = {row.model: row for row in spend.by_day_and_model(7)}
    assert set(rows) == {"fake", "fake-option-1", "fake-400"}
    assert rows["fake"].usd == Budget.objects.get(session=session).usd_used > 0
    assert (rows["fake-400"].failed, rows["fake-400"].tokens) == (rows["fake-400"].calls, 0)
    assert spend.by_day_and_model(7, owner=other_user.pk) == []
    days = spend.by_day(rows.values(), 7)
    assert [day.tokens for day in days[:-1]] == [0] * 6
    assert days[-1].tokens == sum(row.tokens for row in rows.values())
