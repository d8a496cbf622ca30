"""The gate and seats that are people's, as ``next_step`` sees them."""

from __future__ import annotations

import pytest

from council.deliberation.protocol import next_step, resolve
from council.deliberation.types import (
    Answer,
    Ask,
    Ballot,
    Conclude,
    GateAnswer,
    Outcome,
    Release,
    SeatState,
    Stage,
    TurnKind,
    TurnStatus,
    Wait,
)
from tests.council.deliberation.simulation import Result, Simulation, seats

VOTES = {"s0": "Yes", "s1": "No", "s2": "Later"}
GATED: dict[str, object] = {"preset": "debate", "gate": "before_synthesis"}


def with_person() -> tuple[SeatState, ...]:
    return tuple(seat.model_copy(update={"human": seat.id == "s2"}) for seat in seats(3))


def go(simulation: Simulation, until: Stage) -> None:
    """Everybody answers and votes as ``VOTES`` says, up to the first turns of a round of this stage."""
    while simulation.conclusion is None:
        simulation.step()
        if simulation.open_turns() and simulation.state.rounds[-1].stage is until:
            return
        for turn in simulation.open_turns():
            said: dict[TurnKind, Result] = {
                TurnKind.ANSWER: Answer(answer="so", option=VOTES.get(turn.seat or "")),
                TurnKind.BALLOT: Ballot(ranking=("o1", "o2", "o3")),
            }
            simulation.finish(turn, said.get(turn.kind, TurnStatus.COMPLETED))


def at_gate(protocol: dict[str, object]) -> Simulation:
    simulation = Simulation(resolve(protocol), seats(3))
    go(simulation, Stage.GATE)
    assert [turn.kind for turn in simulation.open_turns()] == [TurnKind.GATE]
    return simulation


def say(simulation: Simulation, result: GateAnswer | TurnStatus) -> None:
    simulation.finish(simulation.open_turns()[0], result)
    simulation.step()  # closes the round
    simulation.step()


def test_approval_asks_for_the_text() -> None:
    simulation = at_gate(GATED)
    say(simulation, GateAnswer(decision="approve"))
    assert simulation.state.rounds[-1].stage is Stage.SYNTHESIS


def test_a_debate_is_followed_by_a_ballot_and_the_gate() -> None:
    simulation = at_gate(GATED)
    say(simulation, GateAnswer(decision="debate"))
    assert simulation.state.rounds[-1].stage is Stage.DEBATE
    go(simulation, Stage.GATE)
    assert [stage.value for stage in simulation.stages()][-3:] == ["debate", "ballot", "gate"]


@pytest.mark.parametrize(
    ("answer", "outcome"), [(GateAnswer(decision="stop"), Outcome.DECIDED), (TurnStatus.FAILED, Outcome.PARTIAL)]
)
def test_a_run_may_end_at_the_gate(answer: GateAnswer | TurnStatus, outcome: Outcome) -> None:
    simulation = at_gate(GATED)
    say(simulation, answer)
    end = simulation.conclusion
    assert isinstance(end, Conclude)
    assert (end.status, end.outcome, len(end.notes)) == ("completed", outcome, 1)


def test_the_first_text_alone_passes_the_gate() -> None:
    """A text that the seats reject is written again without asking the person once more."""
    simulation = at_gate({"stages": ["opening", "ballot", "synthesis", "ratify"], "gate": "before_synthesis"})
    say(simulation, GateAnswer(decision="approve"))
    go(simulation, Stage.BALLOT)
    assert simulation.stages().count(Stage.GATE) == 1


def test_a_persons_ballot_is_awaited_though_it_could_change_nothing() -> None:
    simulation = Simulation(resolve({"rule": "majority"}), with_person())
    go(simulation, Stage.BALLOT)
    first, second, person = simulation.open_turns()
    simulation.finish(first, Ballot(ranking=("o1",)))
    simulation.finish(second, Ballot(ranking=("o1",)))
    assert person.seat == "s2"
    assert next_step(simulation.state) == Wait()
    models = simulation.state.model_copy(update={"seats": seats(3)})
    assert isinstance(next_step(models), Release)


def test_nobody_waits_for_a_person_to_write_for_the_table() -> None:
    simulation = Simulation(resolve(None), with_person())
    go(simulation, Stage.SYNTHESIS)
    chair = next(turn for turn in simulation.open_turns() if turn.kind is TurnKind.SYNTHESIS)
    simulation.finish(chair, TurnStatus.FAILED)
    step = next_step(simulation.state)
    assert isinstance(step, Ask)
    assert [turn.seat for turn in step.turns] in (["s0"], ["s1"])
