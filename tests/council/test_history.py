"""Each rule of the history checker, broken by one forged row of a council that is sound otherwise: the checker names that rule."""

# ruff: noqa: S608  # statements made of ids that were just read
from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from accounts.models import User
from council import services
from council.history import stored
from council.history.check import Rows, check
from council.history.told import Event
from council.models import CouncilSession, LlmCall, SessionEvent, Turn
from realtime import log
from tests.support.councils import Convene, conclude, work

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.forges]

Json = dict[str, Any]


@pytest.fixture
def session(user: User, convene: Convene) -> CouncilSession:
    return conclude(user, convene())


def rules(session: CouncilSession) -> list[str]:
    return sorted({fault.rule for fault in stored.faults(session.pk)})


# --- the log, event by event: pure, on the events of a real council ------------------------------------------------------


class Story:
    """A council's log, to be told differently: by kind and number of occurrence."""

    def __init__(self, session: CouncilSession) -> None:
        self.rows: Rows = stored.rows(session.pk)
        self.events = [(event.type, event.data) for event in stored.events(session.pk)]

    def at(self, event: str, nth: int = 0, **having: object) -> int:
        found = [i for i, (name, data) in enumerate(self.events) if name == event and having.items() <= data.items()]
        return found[nth]

    def data(self, event: str, nth: int = 0, **having: object) -> Json:
        data: Json = self.events[self.at(event, nth, **having)][1]
        return data

    def again(self, index: int, to: int | None = None, **changes: object) -> None:
        """The same event once more, behind itself or at ``to``."""
        kind, data = copy.deepcopy(self.events[index])
        self.events.insert(index + 1 if to is None else to, (kind, data | changes))

    def gone(self, index: int) -> None:
        del self.events[index]

    def faults(self) -> list[str]:
        numbered = [Event(seq, kind, data) for seq, (kind, data) in enumerate(self.events, 1)]
        rows = Rows(**{name: getattr(self.rows, name) for name in self.rows.__slots__})
        rows.session["last_seq"] = len(numbered)
        return sorted({fault.rule for fault in check(rows, numbered)})


def _twice(kind: str, nth: int = 0) -> Callable[[Story], None]:
    return lambda story: story.again(story.at(kind, nth))


def _missing(kind: str, nth: int = 0) -> Callable[[Story], None]:
    return lambda story: story.gone(story.at(kind, nth))


def _after_its_round(story: Story) -> None:
    """An answer that came when its round was closed."""
    at = story.at("turn.completed", -1, kind="answer")
    moved = story.events.pop(at)
    story.events.insert(story.at("round.closed") + 1, moved)


def _a_turn_of_nowhere(story: Story) -> None:
    story.data("turn.completed", kind="ballot")["seat"] = None


def _less_used(story: Story) -> None:
    story.data("turn.completed", 2, kind="answer")["usage"]["calls"] = 0


def _a_skipped_attempt(story: Story) -> None:
    turn = story.data("turn.started")["turn"]
    for _, data in story.events:
        if data.get("turn") == turn:
            data["attempt"] = 2


def _another_status(story: Story) -> None:
    story.data("turn.completed")["status"] = "failed"


def _a_second_run_at_once(story: Story) -> None:
    story.again(story.at("session.started"), run=2)


def _a_count_after_the_end(story: Story) -> None:
    story.again(story.at("tally.computed"), to=len(story.events))


def _a_late_ballot(story: Story) -> None:
    at = story.at("ballot.cast")
    moved = story.events.pop(at)
    story.events.insert(story.at("round.closed", 1) + 1, moved)


def _ends_otherwise(story: Story) -> None:
    story.data("session.completed")["session"]["status"] = "stopped"


def _a_run_too_far(story: Story) -> None:
    """Run 1 was never there: what is told of it stands nowhere."""
    story.data("session.started")["run"] = 2


def _a_round_too_far(story: Story) -> None:
    for _, data in story.events:
        if data.get("round") == 3:
            data["round"] = 4


def _an_unopened_ballot(story: Story) -> None:
    story.data("round.closed", 1)["ballots"].pop()


def _revised_before_it_was_reached(story: Story) -> None:
    at = story.at("decision.reached")
    story.events.insert(at, ("decision.revised", copy.deepcopy(story.events[at][1])))


def _decided_after_the_end(story: Story) -> None:
    story.events.append(story.events.pop(story.at("decision.reached")))


def _another_limit(story: Story) -> None:
    story.data("session.created")["session"]["budget"]["tokens"] = 7


def _more_used(story: Story) -> None:
    [data for _, data in story.events if "usage" in data][-1]["usage"]["tokens"] += 1


def _a_seat_less(story: Story) -> None:
    story.data("session.created")["session"]["agents"].pop()


def _another_title(story: Story) -> None:
    story.data("session.created")["session"]["title"] = "Another"


def _another_synthesis(story: Story) -> None:
    story.data("turn.completed", kind="synthesis")["result"] = {}


def _a_last_round_that_is_not_counted(story: Story) -> None:
    """As if ballots came last."""
    story.data("round.started", 2)["stage"] = "ballot"


TOLD: Sequence[tuple[Callable[[Story], None], set[str]]] = (
    (_twice("session.created"), {"transition"}),
    (_missing("session.created"), {"transition"}),
    (_twice("session.completed"), {"transition"}),
    (_missing("session.completed"), {"transition", "session"}),
    (_a_second_run_at_once, {"transition"}),
    (_twice("round.started"), {"round"}),
    (_missing("round.closed"), {"round"}),
    (_twice("round.closed"), {"round"}),
    (_missing("tally.computed"), {"tally"}),
    (_twice("tally.computed"), {"tally"}),
    (_a_count_after_the_end, {"tally"}),
    (_twice("ballot.cast"), {"ballot"}),
    (_missing("ballot.cast"), {"ballot"}),
    (_a_late_ballot, {"ballot"}),
    (_twice("turn.completed"), {"result"}),
    (_twice("turn.started"), {"transition", "attempt"}),
    (_missing("turn.completed"), {"barrier", "turn"}),
    (_a_skipped_attempt, {"attempt", "turn"}),
    (_another_status, {"transition"}),
    (_a_turn_of_nowhere, {"turn"}),
    (_after_its_round, {"barrier"}),
    (_twice("decision.reached"), {"decision"}),
    (_missing("decision.reached"), {"decision"}),
    (_less_used, {"budget"}),
    (_more_used, {"budget"}),
    (_another_limit, {"budget"}),
    (_ends_otherwise, {"transition", "session"}),
    (_a_run_too_far, {"transition", "round", "decision"}),
    (_a_round_too_far, {"round"}),
    (_missing("round.started", 2), {"round", "barrier"}),
    (_an_unopened_ballot, {"ballot"}),
    (_revised_before_it_was_reached, {"decision"}),
    (_decided_after_the_end, {"decision"}),
    (_a_seat_less, {"session"}),
    (_another_title, {"session"}),
    (_another_synthesis, {"result"}),
    (_a_last_round_that_is_not_counted, {"tally", "round"}),
)


def test_every_rule_of_the_log_is_broken_alone(session: CouncilSession) -> None:
    assert Story(session).faults() == []
    wrong = []
    for number, (alter, expected) in enumerate(TOLD):
        story = Story(session)
        alter(story)
        if set(story.faults()) != expected:
            wrong.append(f"{number}: {story.faults()} instead of {expected}")
    assert not wrong, "\n".join(wrong)


def test_numbers_without_a_gap(session: CouncilSession) -> None:
    story = Story(session)
    told = [Event(seq + (seq > 3), kind, data) for seq, (kind, data) in enumerate(story.events, 1)]
    story.rows.session["last_seq"] += 1
    assert [fault.rule for fault in check(story.rows, told)] == ["seq"]


# --- the rows: what somebody with a database console would do -----------------------------------------------------------


def _rows(session: CouncilSession) -> Iterator[tuple[str, str, str]]:
    """(rule, the change, its undoing), each of one row."""
    pk = session.pk
    turn = Turn.objects.filter(session=pk, kind="answer").first()
    call = LlmCall.objects.filter(session=pk).first()
    assert turn is not None
    assert call is not None
    of_session, of_turn = f"WHERE id = '{pk}'", f"WHERE id = '{turn.pk}'"
    yield "seq", f"UPDATE council_councilsession SET last_seq = last_seq + 1 {of_session}", "last_seq = last_seq - 1"
    yield "session", f"UPDATE council_councilsession SET version = version + 1 {of_session}", "version = version - 1"
    yield "session", f"UPDATE council_councilsession SET reason = 'x' {of_session}", "reason = ''"
    yield "turn", f"UPDATE council_turn SET attempt = 2 {of_turn}", "attempt = 1"
    yield "result", f"UPDATE council_turn SET error = 'x' {of_turn}", "error = ''"
    yield "result", f"UPDATE council_turn SET evidence = '[1]' {of_turn}", "evidence = '[]'"
    of_budget = f"WHERE session_id = '{pk}'"
    yield "budget", f"UPDATE council_budget SET calls = calls + 1 {of_budget}", "calls = calls - 1"
    yield "budget", f"UPDATE council_budget SET tokens_reserved = 1 {of_budget}", "tokens_reserved = 0"
    yield "budget", f"UPDATE council_budget SET usd_limit = 7 {of_budget}", "usd_limit = NULL"
    yield (
        "budget",
        f"UPDATE council_llmcall SET prompt_tokens = prompt_tokens + 1 WHERE id = '{call.pk}'",
        "prompt_tokens = prompt_tokens - 1",
    )
    of_round = f"WHERE id = '{turn.round_id}'"
    yield "round", f"UPDATE council_round SET stage = 'debate' {of_round}", "stage = 'opening'"


def change(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.rowcount == 1


def test_every_forged_row_is_named_by_its_rule(session: CouncilSession) -> None:
    for rule, forgery, undone in _rows(session):
        change(forgery)
        assert rules(session) == [rule], forgery
        before, where = forgery.split(" SET ")[0], forgery[forgery.index("WHERE") :]
        change(f"{before} SET {undone} {where}")
        assert rules(session) == [], undone


GONE = (
    (
        "DELETE FROM council_ballot WHERE id = (SELECT min(id) FROM council_ballot WHERE round_id IN ({rounds}))",
        "ballot",
    ),
    ("DELETE FROM council_decision WHERE run_id IN ({runs})", "decision"),
    ("UPDATE council_round SET tally = NULL WHERE run_id IN ({runs}) AND number = 1", "tally"),
    ("UPDATE council_round SET closed_at = NULL WHERE run_id IN ({runs}) AND number = 3", "round"),
)


@pytest.mark.parametrize(("statement", "rule"), GONE)
def test_a_row_that_is_gone(session: CouncilSession, statement: str, rule: str) -> None:
    runs = f"SELECT id FROM council_run WHERE session_id = '{session.pk}'"
    rounds = f"SELECT id FROM council_round WHERE run_id IN ({runs})"
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM council_citation")
    change(statement.format(runs=runs, rounds=rounds))
    assert rules(session) == [rule]


def test_a_turn_of_which_the_log_knows_nothing(session: CouncilSession) -> None:
    turn = Turn.objects.filter(session=session, kind="answer").first()
    assert turn is not None
    turn.pk, turn.ordinal, turn._state.adding = None, 1, True
    turn.id = Turn._meta.get_field("id").get_default()
    turn.save(force_insert=True)
    assert rules(session) == ["turn"]


def test_a_message_of_which_the_log_knows_nothing(user: User, session: CouncilSession) -> None:
    message = services.post_message(user, session.pk, content="And editors?")
    assert rules(session) == []
    message.delete()
    assert rules(session) == ["message"]


# --- what is legal ----------------------------------------------------------------------------------------------------------


def test_a_council_is_sound_at_every_step_and_a_follow_up_as_well(user: User, convene: Convene) -> None:
    session = convene()
    assert rules(session) == []
    services.start(user, session.pk)
    assert rules(session) == []
    work(session, limit=1)
    assert rules(session) == []
    work(session)
    services.post_message(user, session.pk, content="And editors?")
    services.start(user, session.pk)
    work(session)
    services.archive(user, session.pk)
    assert rules(session) == []


def test_a_council_that_was_stopped_in_mid_round_is_sound(user: User, convene: Convene) -> None:
    session = convene()
    services.start(user, session.pk)
    services.stop(user, session.pk)
    assert rules(session) == []


# --- the command ----------------------------------------------------------------------------------------------------------------


def test_the_command_says_what_is_wrong_and_fails(session: CouncilSession, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check_history", str(session.pk))
    assert capsys.readouterr().out == "1 histories, no fault.\n"
    with transaction.atomic():
        log.append(session, ("message.created", {"message": {"id": "none"}}))
    with pytest.raises(CommandError, match="1 faults in"):
        call_command("check_history", "--all", "--packs", "--json")
    line = json.loads(capsys.readouterr().out)
    assert (line["kind"], line["id"], line["rule"]) == ("council", str(session.pk), "message")


def test_it_reads_a_council_with_a_few_statements(
    session: CouncilSession, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    assert SessionEvent.objects.filter(stream=session).count() > 30
    with django_assert_max_num_queries(13):
        assert stored.faults(session.pk) == []
