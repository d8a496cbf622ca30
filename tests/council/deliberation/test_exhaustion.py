"""Runs out of time or money count what they have and end."""

from __future__ import annotations

import pytest

from council.deliberation.protocol import (
    final_tally,
    resolve,
)
from council.deliberation.types import (
    Outcome,
    Protocol,
    RunState,
    Stage,
    TurnKind,
    TurnStatus,
)
from tests.council.deliberation.simulation import (
    Simulation,
    council_of,
    notes,
    outcome,
    seats,
)

OPENING, DEBATE, BALLOT, SYNTHESIS = Stage.OPENING, Stage.DEBATE, Stage.BALLOT, Stage.SYNTHESIS
SPLIT = council_of(["Yes", "No", "Later", "Yes"])


DONE = TurnStatus.COMPLETED


def exhaust_in(stage: Stage, *, answered: int, reason: str = "deadline", **settings: object) -> Simulation:
    """Run until ``stage`` is asked, finish ``answered`` of its turns, then run out."""
    simulation = Simulation(resolve(settings), seats(4))
    while stage not in simulation.stages():
        simulation.step()
        for turn in simulation.open_turns() if stage not in simulation.stages() else []:
            tallied = turn.kind is TurnKind.TALLY
            simulation.finish(turn, DONE if tallied else SPLIT(turn, simulation.state.rounds[-1]))
    for turn in simulation.open_turns()[:answered]:
        simulation.finish(turn, SPLIT(turn, simulation.state.rounds[-1]))
    simulation.exhaust(reason)
    simulation.run(SPLIT)
    return simulation


@pytest.mark.parametrize("reason", ["deadline", "budget"])
def test_out_of_time_or_money_before_a_quorum_answered_fails(reason: str) -> None:
    simulation = exhaust_in(OPENING, answered=1, reason=reason)
    assert outcome(simulation) == reason
    assert "ran out before a quorum had answered" in notes(simulation)


def test_out_of_time_before_anything_was_asked_fails() -> None:
    state = RunState(protocol=Protocol(), seats=seats(3), exhausted="deadline")
    simulation = Simulation(Protocol(), seats(3))
    simulation.state = state
    assert simulation.run(SPLIT).reason == "deadline"


def test_out_of_time_with_a_quorum_of_answers_counts_them() -> None:
    simulation = exhaust_in(OPENING, answered=3)
    assert (simulation.stages(), outcome(simulation)) == ([OPENING], Outcome.PARTIAL)
    assert final_tally(simulation.state)
    assert notes(simulation).startswith("Time ran out during the opening; the council decided on what it had.")


def test_out_of_money_in_the_ballot_counts_the_ballots_if_they_have_a_quorum() -> None:
    enough = exhaust_in(BALLOT, answered=2, reason="budget")
    few = exhaust_in(BALLOT, answered=1, reason="budget")
    assert final_tally(enough.state) == enough.state.rounds[1].tally
    assert final_tally(few.state) == few.state.rounds[0].tally
    assert outcome(enough) == outcome(few) == Outcome.PARTIAL


def test_out_of_time_in_the_synthesis_asks_no_stand_in() -> None:
    simulation = exhaust_in(SYNTHESIS, answered=0)
    assert simulation.asked(TurnKind.SYNTHESIS) == ["chair"]
    assert outcome(simulation) is Outcome.PARTIAL


def test_a_synthesis_that_was_written_in_time_is_a_decision() -> None:
    assert outcome(exhaust_in(SYNTHESIS, answered=1)) is Outcome.DECIDED


def test_a_tally_cut_off_by_the_deadline_falls_back_to_the_one_before() -> None:
    simulation = Simulation(resolve(None), seats(4))
    while simulation.stages() != [OPENING, BALLOT] or not simulation.asked(TurnKind.TALLY)[1:]:
        simulation.step()
        for turn in simulation.open_turns():
            if turn.kind is not TurnKind.TALLY:
                simulation.finish(turn, SPLIT(turn, simulation.state.rounds[-1]))
            elif simulation.stages() == [OPENING]:
                simulation.finish(turn, DONE)
    simulation.exhaust("deadline")
    simulation.run(SPLIT)
    assert outcome(simulation) is Outcome.PARTIAL
    assert final_tally(simulation.state) == simulation.state.rounds[0].tally
