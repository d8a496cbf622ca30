"""The stages beyond opening, debate, ballot and synthesis, and what ends a run early."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation.consensus import tally
from council.deliberation.estimates import distribution, stable
from council.deliberation.estimates import tally as estimated
from council.deliberation.neighbours import neighbours
from council.deliberation.protocol import next_step, ratification, resolve
from council.deliberation.record import positions
from council.deliberation.settled import _TESTS
from council.deliberation.types import (
    Answer,
    Attack,
    Ballot,
    Candidate,
    Outcome,
    Release,
    RoundState,
    Rule,
    Scale,
    Stage,
    TurnKind,
    TurnState,
    TurnStatus,
    Verdict,
    Wait,
)
from tests.council.deliberation.simulation import Behaviour, Result, Simulation, council_of, notes, outcome, seats

SPLIT = council_of(["Yes", "No", "Later", "Yes"])
AGREED = council_of(["Yes"] * 4)
OPENING, ATTACK, DEBATE, BALLOT, _TALLY, GATE, SYNTHESIS, RATIFY = Stage


def saying(*verdicts: bool, base: Behaviour = SPLIT) -> Behaviour:
    """As ``base``; seat i ratifies with the i-th verdict, every time."""

    def behave(turn: TurnState, round_: RoundState) -> Result:
        if turn.kind is TurnKind.RATIFY:
            return Verdict(accept=verdicts[int((turn.seat or "s0")[1:])], reason="so")
        return Attack(text="It fails.") if turn.kind is TurnKind.ATTACK else base(turn, round_)

    return behave


def run(
    behave: Behaviour, voting: int = 4, options: tuple[str, ...] = ("Yes", "No", "Later"), **asked: object
) -> Simulation:
    simulation = Simulation(resolve(asked), seats(voting), options)
    simulation.run(behave)
    return simulation


# --- ratify -----------------------------------------------------------------------------------------------------------

RATIFIED = ["opening", "ballot", "synthesis", "ratify"]


@pytest.mark.parametrize(
    ("verdicts", "rounds", "ratified"),
    [((True, True, True, False), 1, True), ((True, True, False, False), 2, False), ((False,) * 4, 2, False)],
)
def test_a_text_needs_more_than_half_and_gets_one_second_chance(
    verdicts: tuple[bool, ...], rounds: int, ratified: bool
) -> None:
    simulation = run(saying(*verdicts), stages=RATIFIED)
    assert simulation.stages() == [OPENING, BALLOT, *[SYNTHESIS, RATIFY] * rounds]
    verdict = ratification(simulation.state)
    assert verdict
    assert (verdict.ratified, verdict.revised) == (ratified, rounds == 2)
    assert outcome(simulation) is Outcome.DECIDED  # what the votes decided does not hang on the wording
    assert notes(simulation).startswith("Not ratified") is not ratified


def test_a_second_wording_that_passes_is_called_so() -> None:
    def behave(turn: TurnState, round_: RoundState) -> Result:
        return saying(*[round_.number > 4] * 4)(turn, round_)

    assert notes(run(behave, stages=RATIFIED)) == "Ratified in its second wording: 4 of 4 seats accepted this text."


def test_out_of_time_before_the_verdict_is_said_above_the_text() -> None:
    simulation = Simulation(resolve({"stages": RATIFIED}), seats(4))
    while SYNTHESIS not in simulation.stages():
        simulation.advance(SPLIT)
    while RATIFY not in simulation.stages():
        simulation.step()
    simulation.exhaust("deadline")
    simulation.run(SPLIT)
    assert notes(simulation).startswith("Not ratified. Time ran out before the seats had judged the text.")


# --- attack, poll -----------------------------------------------------------------------------------------------------


def test_the_attacker_does_not_hold_the_leading_answer_if_somebody_else_can() -> None:
    simulation = run(saying(True, True, True, True), preset="red-team")
    [attacker] = simulation.asked(TurnKind.ATTACK)
    assert positions(simulation.state)[attacker or ""].option != "Yes"
    assert simulation.stages() == [OPENING, ATTACK, DEBATE, BALLOT, SYNTHESIS]


def test_an_attack_is_debated_even_where_all_agree() -> None:
    assert run(saying(base=AGREED), preset="red-team").stages() == [OPENING, ATTACK, DEBATE, SYNTHESIS]


def test_a_poll_is_an_opening_and_its_count() -> None:
    simulation = run(SPLIT, preset="poll")
    assert (simulation.stages(), outcome(simulation), notes(simulation)) == ([OPENING], Outcome.DECIDED, "")


# --- estimates --------------------------------------------------------------------------------------------------------


def estimating(*rounds: tuple[float, ...]) -> Behaviour:
    def behave(turn: TurnState, round_: RoundState) -> Result:
        if turn.kind is not TurnKind.ANSWER:
            return TurnStatus.COMPLETED
        values = rounds[min(round_.number, len(rounds)) - 1]
        return Answer(answer="So many.", estimate=values[int((turn.seat or "s0")[1:])])

    return behave


@pytest.mark.parametrize(
    ("rounds", "debates"),
    [
        (((5, 5, 5, 5),), 0),  # nothing to talk about
        (((1, 5, 9, 20),), 1),  # nobody moves: at rest
        (((1, 5, 9, 90), (5, 6, 9, 20), (5, 6, 9, 19)), 2),
        (((0, 0, 99, 99), (0, 0, 50, 50), (0, 40, 90, 99), (1, 2, 3, 4)), 3),  # at most three
    ],
)
def test_a_delphi_ends_when_the_quartiles_rest(rounds: tuple[tuple[float, ...], ...], debates: int) -> None:
    simulation = run(estimating(*rounds), options=(), preset="delphi")
    assert simulation.stages().count(DEBATE) == debates
    assert outcome(simulation) is Outcome.DECIDED


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_at_least_half_of_the_estimates_lie_in_the_range(values: list[float]) -> None:
    found = distribution(values)
    assert found
    assert found.low <= found.q1 <= found.median <= found.q3 <= found.high
    assert 2 * sum(found.q1 <= value <= found.q3 for value in values) >= len(values)
    assert {found.q1, found.q3} <= set(values)


def test_estimates_beyond_the_range_dissent_and_nobody_does_of_three() -> None:
    five = {f"s{i}": Answer(answer="x", estimate=value) for i, value in enumerate((1.0, 4, 5, 6, 50))}
    assert estimated(five, Scale(unit="km")).agreement.positions == {
        "s0": "e2",
        "s1": "e1",
        "s2": "e1",
        "s3": "e1",
        "s4": "e3",
    }
    assert (
        estimated(five, Scale(unit="km")).candidates[0].text
        == "5 km (median; the middle half of the estimates: 4 to 6 km)"
    )
    three = {seat: five[seat] for seat in ("s0", "s1", "s4")}
    assert set(estimated(three, Scale()).agreement.positions.values()) == {"e1"}


def test_rest_is_measured_against_the_scale() -> None:
    before, now = distribution([1, 2, 3, 4]), distribution([1, 2, 3, 5])
    assert before
    assert now
    assert stable(before, now, Scale(kind="likert", low=0, high=10), 0.15)
    assert not stable(before, now, Scale(kind="likert", low=1, high=5), 0.15)


# --- neighbours -------------------------------------------------------------------------------------------------------


@given(st.integers(2, 12), st.integers(0, 99), st.integers(1, 6), st.none() | st.integers(1, 11))
def test_everybody_reads_as_often_as_it_is_read(n: int, seed: int, number: int, degree: int | None) -> None:
    table = [f"s{i}" for i in range(n)]
    found = neighbours(table, seed, number, degree)
    expected = min(degree or (n - 1 if n <= 4 else n // 2), n - 1)
    assert {len(set(read)) for read in found.values()} == {expected}
    assert all(seat not in read for seat, read in found.items())
    assert {sum(seat in read for read in found.values()) for seat in table} == {expected}
    assert found == neighbours(table[::-1], seed, number, degree)


# --- outcomes that nothing can change any more ------------------------------------------------------------------------


@given(
    st.sampled_from([Rule.PLURALITY, Rule.SCHULZE, Rule.MAJORITY]),
    st.lists(st.permutations(("o1", "o2", "o3")), min_size=1, max_size=4),
    st.integers(1, 2),
)
def test_what_is_settled_no_further_ballots_change(rule: Rule, cast: list[list[str]], out: int) -> None:
    """Against every completion of the vote, counted by the engine itself."""
    ids = ("o1", "o2", "o3")
    ballots = [Ballot(ranking=tuple(one)) for one in cast]
    if not _TESTS[rule.value](ids, ballots, out):
        return
    candidates = [Candidate(id=one, text=one, option=one) for one in ids]
    more = [
        Ballot(abstain=True),
        *(Ballot(ranking=tuple(one)) for one in (("o1",), ("o2", "o1"), ("o3", "o2", "o1"), ("o2", "o3"))),
    ]
    winners = set()
    for rest in product(more, repeat=out):
        votes = {f"s{i}": ballot for i, ballot in enumerate([*ballots, *rest])}
        held = dict.fromkeys(votes, "o1")
        winners.add(tally(candidates, held, votes, rule, 7, {}).winner)
    assert len(winners) == 1


def test_every_rule_that_may_settle_a_vote_early_exists_or_is_announced() -> None:
    announced = {"two_thirds", "unanimity", "ranked_pairs", "irv"}
    assert set(_TESTS) - {rule.value for rule in Rule} <= announced


def voting(*, cast: int, status: TurnStatus) -> Simulation:
    simulation = Simulation(resolve(None), seats(5))
    behave = council_of(["Yes", "Yes", "Yes", "No", "Later"])
    while BALLOT not in simulation.stages():
        simulation.step()
        for turn in simulation.open_turns() if BALLOT not in simulation.stages() else []:
            simulation.finish(
                turn, TurnStatus.COMPLETED if turn.kind is TurnKind.TALLY else behave(turn, simulation.state.rounds[-1])
            )
    for turn in simulation.open_turns()[:cast]:
        simulation.finish(turn, Ballot(ranking=("o1", "o2", "o3")))
    for turn in simulation.open_turns()[-1:]:
        simulation.finish(turn, status)
    return simulation


@pytest.mark.parametrize(
    ("cast", "status", "released"),
    [(3, TurnStatus.PENDING, 2), (3, TurnStatus.RUNNING, 0), (2, TurnStatus.PENDING, 0)],
    ids=["settled", "one is being written", "not settled"],
)
def test_ballots_are_released_when_they_change_nothing_and_nobody_writes_them(
    cast: int, status: TurnStatus, released: int
) -> None:
    step = next_step(voting(cast=cast, status=status).state)
    assert len(step.turns) == released if isinstance(step, Release) else (step == Wait() and not released)


def test_a_seat_whose_ballot_was_not_needed_is_not_missing() -> None:
    simulation = voting(cast=3, status=TurnStatus.PENDING)
    simulation.run(AGREED)
    assert (outcome(simulation), notes(simulation)) == (Outcome.DECIDED, "")
    assert sorted(one or "" for one in simulation.asked(TurnKind.DISSENT)) == ["s3", "s4"]


def test_agreement_without_citations_is_debated() -> None:
    simulation = Simulation(resolve({"preset": "debate"}), seats(4))
    simulation.step()
    for turn in simulation.open_turns():
        simulation.finish(turn, AGREED(turn, simulation.state.rounds[0]))
    bare = [turn.model_copy(update={"grounded": False}) for turn in simulation.state.rounds[0].turns]
    simulation._replace(simulation.state.rounds[0].model_copy(update={"turns": tuple(bare)}))
    simulation.run(AGREED)
    assert simulation.stages() == [OPENING, DEBATE, SYNTHESIS]
