"""Runs go from stage to stage as the protocol says, whoever fails and whenever time runs out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from council.deliberation.protocol import (
    Flip,
    dissenters,
    final_tally,
    flips,
    missing_seats,
    next_step,
    positions,
    resolve,
)
from council.deliberation.types import (
    Answer,
    Ask,
    Ballot,
    CloseRound,
    NewTurn,
    Outcome,
    Protocol,
    RoundState,
    RunState,
    Stage,
    TurnKind,
    TurnState,
    TurnStatus,
    Wait,
)
from tests.council.deliberation.simulation import (
    Behaviour,
    Result,
    Simulation,
    council_of,
    failing,
    notes,
    outcome,
    seats,
    simulate,
)

OPENING, DEBATE, BALLOT, SYNTHESIS = Stage.OPENING, Stage.DEBATE, Stage.BALLOT, Stage.SYNTHESIS
SPLIT = council_of(["Yes", "No", "Later", "Yes"])


DONE = TurnStatus.COMPLETED


# --- the ordinary course ----------------------------------------------------------------------------------------------


def test_a_run_begins_by_asking_every_voter_and_not_the_chair() -> None:
    step = next_step(RunState(protocol=Protocol(), seats=seats(3)))
    turns = tuple(NewTurn(seat=f"s{i}", kind=TurnKind.ANSWER) for i in range(3))
    assert step == Ask(number=1, stage=OPENING, turns=turns)


def test_a_round_is_answered_then_counted_then_closed() -> None:
    simulation = Simulation(resolve(None), seats(2))
    simulation.step()
    first, second = simulation.open_turns()
    simulation.finish(first, Answer(answer="x", option="Yes"))
    assert simulation.step() == Wait()
    simulation.finish(second, TurnStatus.FAILED)
    assert simulation.step() == Ask(number=1, stage=OPENING, turns=(NewTurn(seat=None, kind=TurnKind.TALLY),))
    assert simulation.step() == Wait()
    simulation.finish(simulation.open_turns()[0], TurnStatus.COMPLETED)
    assert simulation.step() == CloseRound(number=1)


def test_a_council_opens_votes_and_writes() -> None:
    simulation = simulate(SPLIT)
    assert simulation.stages() == [OPENING, BALLOT, SYNTHESIS]
    assert outcome(simulation) is Outcome.DECIDED
    assert notes(simulation) == ""


def test_synthesis_and_minority_reports_are_asked_at_once() -> None:
    simulation = simulate(SPLIT)
    kinds = [(turn.seat, turn.kind) for turn in simulation.state.rounds[-1].turns]
    assert kinds == [("chair", TurnKind.SYNTHESIS), ("s1", TurnKind.DISSENT), ("s2", TurnKind.DISSENT)]


def test_a_unanimous_opening_leaves_nothing_to_rank() -> None:
    simulation = simulate(council_of(["No"] * 4))
    assert simulation.stages() == [OPENING, SYNTHESIS]
    assert (outcome(simulation), notes(simulation)) == (Outcome.DECIDED, "")


def test_a_seat_without_a_valid_option_is_no_part_of_unanimity() -> None:
    assert BALLOT in simulate(council_of(["No", "No", "No", "Perhaps"])).stages()


def test_a_single_option_is_not_put_to_a_ballot() -> None:
    simulation = Simulation(resolve(None), seats(3), options=("Yes",))
    simulation.run(council_of(["Yes", "Yes", "Perhaps"]))
    assert simulation.stages() == [OPENING, SYNTHESIS]


def test_without_a_majority_there_is_no_consensus_and_no_dissent() -> None:
    simulation = simulate(SPLIT, rule="majority")
    assert outcome(simulation) is Outcome.NO_CONSENSUS
    assert simulation.asked(TurnKind.DISSENT) == []
    assert simulation.asked(TurnKind.SYNTHESIS) == ["chair"]


# --- debate -----------------------------------------------------------------------------------------------------------


def changing(options: Mapping[int, Mapping[str, str]], base: Behaviour = SPLIT) -> Behaviour:
    """As ``base``, but in round n the seats of ``options[n]`` answer with the option given there."""

    def behave(turn: TurnState, round_: RoundState) -> Result:
        option = options.get(round_.number, {}).get(turn.seat or "")
        if turn.kind is not TurnKind.ANSWER or option is None:
            return base(turn, round_)
        return Answer(answer=f"Now {option}", option=option, changed_because="evidence")

    return behave


def test_a_divided_opening_is_debated() -> None:
    assert simulate(SPLIT, preset="debate").stages() == [OPENING, DEBATE, BALLOT, SYNTHESIS]


def test_an_opening_that_agrees_is_not_debated() -> None:
    agreed = council_of(["Yes", "Yes", "Yes", "No"])
    assert DEBATE not in simulate(agreed, preset="debate").stages()
    assert DEBATE in simulate(agreed, preset="debate", agree_at=0.8).stages()


def test_exactly_two_thirds_agree() -> None:
    assert DEBATE not in simulate(council_of(["Yes", "Yes", "No"]), voting=3, preset="debate").stages()


def test_debate_goes_on_while_somebody_moves() -> None:
    moving = changing({2: {"s1": "Later"}, 3: {"s1": "No"}, 4: {"s1": "No"}})
    stages = simulate(moving, preset="debate", rounds=5).stages()
    assert stages.count(DEBATE) == 3  # the third debate, round 4, moves nobody


def test_debate_ends_after_its_last_round() -> None:
    moving = changing({2: {"s1": "Later"}, 3: {"s1": "No"}, 4: {"s1": "Later"}})
    assert simulate(moving, preset="debate", rounds=2).stages().count(DEBATE) == 2


def test_debate_ends_once_enough_agree() -> None:
    moving = changing({2: {"s1": "Yes"}})
    assert simulate(moving, preset="debate", rounds=3).stages().count(DEBATE) == 1


def test_a_seat_that_fails_in_debate_keeps_its_opening_position_and_is_missing_after() -> None:
    simulation = simulate(failing(SPLIT, ("s1", DEBATE)), preset="debate")
    assert positions(simulation.state)["s1"].option == "No"
    assert simulation.asked(TurnKind.BALLOT) == ["s0", "s2", "s3"]
    assert missing_seats(simulation.state) == (("s1", DEBATE),)
    assert (outcome(simulation), notes(simulation)) == (Outcome.DECIDED, "Seat B was missing from the debate.")


def test_a_flip_names_seat_round_candidates_and_cause() -> None:
    simulation = simulate(changing({2: {"s1": "Yes"}}), preset="debate")
    assert flips(simulation.state) == (Flip("s1", 2, "o2", "o1", "evidence"),)


@pytest.mark.parametrize(
    ("text", "cause", "flipped"),
    [("Wait.", "a named error", True), ("Wait.", None, False), ("SHIP IT", "a named error", False)],
    ids=["changed", "other words only", "other form only"],
)
def test_an_open_answer_flips_when_its_text_and_its_cause_say_so(text: str, cause: str | None, flipped: bool) -> None:
    def behave(turn: TurnState, round_: RoundState) -> Result:
        if turn.kind is TurnKind.BALLOT:
            return Ballot(abstain=True)
        if round_.stage is DEBATE and turn.seat == "s0":
            return Answer(answer=text, changed_because=cause)
        return Answer(answer=["Ship it", "Ask", "Stop"][int((turn.seat or "s0")[1:])]) if round_.number < 3 else DONE

    simulation = Simulation(resolve({"preset": "debate"}), seats(3), options=())
    simulation.run(behave)
    assert bool(flips(simulation.state)) is flipped


# --- quorum and failures ----------------------------------------------------------------------------------------------

LONELY = failing(SPLIT, ("s0", OPENING), ("s1", OPENING), ("s2", OPENING))


def test_one_dead_seat_costs_one_turn_and_a_note() -> None:
    simulation = simulate(failing(SPLIT, ("s2", OPENING)))
    assert outcome(simulation) is Outcome.DECIDED
    assert simulation.asked(TurnKind.BALLOT) == ["s0", "s1", "s3"]
    assert notes(simulation) == "Seat C was missing from the opening."


def test_below_quorum_a_run_that_refuses_fails() -> None:
    simulation = simulate(LONELY)
    assert outcome(simulation) == "quorum_not_met"
    assert "The opening had no quorum: 1 of 4 seats, 2 needed." in notes(simulation)


def test_below_quorum_a_partial_run_writes_what_it_has() -> None:
    simulation = simulate(LONELY, policy="partial")
    assert simulation.stages() == [OPENING, SYNTHESIS]
    assert outcome(simulation) is Outcome.PARTIAL
    assert "The opening had no quorum: 1 of 4 seats, 2 needed." in notes(simulation)


@pytest.mark.parametrize(("policy", "reason"), [("refuse", "quorum_not_met"), ("partial", "no_answers")])
def test_a_run_without_any_answer_fails(policy: str, reason: str) -> None:
    dead = failing(SPLIT, *((f"s{i}", OPENING) for i in range(4)))
    assert outcome(simulate(dead, policy=policy)) == reason


@pytest.mark.parametrize(("policy", "expected"), [("refuse", "quorum_not_met"), ("partial", Outcome.PARTIAL)])
def test_a_ballot_needs_a_quorum_of_its_own(policy: str, expected: Outcome | str) -> None:
    simulation = simulate(failing(SPLIT, *((f"s{i}", BALLOT) for i in range(3))), policy=policy)
    assert outcome(simulation) == expected


def test_a_ballot_without_quorum_decides_nothing() -> None:
    behave = council_of(["Yes", "No", "Later", "Yes"], ballot=("o3",))
    simulation = simulate(failing(behave, *((f"s{i}", BALLOT) for i in range(3))), policy="partial")
    tally = final_tally(simulation.state)
    assert tally == simulation.state.rounds[0].tally
    assert tally
    assert tally.winner == "o1"


@pytest.mark.parametrize(("policy", "expected"), [("refuse", "quorum_not_met"), ("partial", Outcome.PARTIAL)])
def test_a_ballot_that_cannot_reach_quorum_is_not_held(policy: str, expected: Outcome | str) -> None:
    lost_in_debate = failing(SPLIT, *((f"s{i}", DEBATE) for i in range(3)))
    simulation = simulate(lost_in_debate, preset="debate", policy=policy)
    assert BALLOT not in simulation.stages()
    assert outcome(simulation) == expected
    assert "The ballot had no quorum: 1 of 4 seats, 2 needed." in notes(simulation)


def test_a_table_that_cannot_meet_its_quorum_is_not_asked() -> None:
    simulation = simulate(SPLIT, voting=2, quorum=3)
    assert (simulation.stages(), outcome(simulation)) == ([], "quorum_not_met")


def test_a_single_voter_may_answer_a_partial_run() -> None:
    simulation = simulate(SPLIT, voting=1, policy="partial")
    assert outcome(simulation) is Outcome.PARTIAL


def test_abstentions_count_for_quorum() -> None:
    def abstain(turn: TurnState, round_: RoundState) -> Result:
        return Ballot(abstain=True) if turn.kind is TurnKind.BALLOT else SPLIT(turn, round_)

    assert outcome(simulate(abstain)) is Outcome.NO_CONSENSUS


@pytest.mark.parametrize("status", [TurnStatus.FAILED, TurnStatus.CANCELLED])
def test_a_tally_that_cannot_be_made_fails_the_run(status: TurnStatus) -> None:
    simulation = Simulation(resolve(None), seats(2))
    simulation.step()
    for turn in simulation.open_turns():
        simulation.finish(turn, Answer(answer="x", option="Yes"))
    simulation.step()
    simulation.finish(simulation.open_turns()[0], status)
    simulation.step()
    assert outcome(simulation) == "tally_failed"


# --- synthesis --------------------------------------------------------------------------------------------------------


def test_a_supporter_of_the_winner_stands_in_for_the_chair() -> None:
    behave = council_of(["No", "Yes", "Later", "Yes"])
    simulation = simulate(failing(behave, ("chair", SYNTHESIS)))
    assert simulation.asked(TurnKind.SYNTHESIS) == ["chair", "s1"]
    assert outcome(simulation) is Outcome.DECIDED
    assert "The chair was missing from the synthesis. Seat B wrote the synthesis" in notes(simulation)


def test_the_stand_in_is_asked_without_waiting_for_minority_reports() -> None:
    simulation = Simulation(resolve(None), seats(3))
    while SYNTHESIS not in simulation.stages():
        simulation.step()
        if SYNTHESIS not in simulation.stages():
            for turn in simulation.open_turns():
                done = DONE if turn.kind is TurnKind.TALLY else SPLIT(turn, simulation.state.rounds[-1])
                simulation.finish(turn, done)
    simulation.finish(simulation.open_turns()[0], TurnStatus.FAILED)
    stand_in = NewTurn(seat="s0", kind=TurnKind.SYNTHESIS, ordinal=1)
    assert simulation.step() == Ask(number=3, stage=SYNTHESIS, turns=(stand_in,))
    assert simulation.step() == Wait()


def test_when_nobody_can_write_the_run_still_concludes() -> None:
    simulation = simulate(failing(SPLIT, ("chair", SYNTHESIS), ("s0", SYNTHESIS)))
    assert outcome(simulation) is Outcome.DECIDED
    assert "Nobody wrote a synthesis: the answer is the leading one verbatim." in notes(simulation)


def test_a_table_without_a_chair_has_a_voter_write() -> None:
    assert simulate(SPLIT, chair=False).asked(TurnKind.SYNTHESIS) == ["s0"]


def test_a_table_of_nobody_left_concludes_without_a_synthesis() -> None:
    lost = failing(SPLIT, *((f"s{i}", BALLOT) for i in range(4)))
    simulation = simulate(lost, chair=False, policy="partial")
    assert simulation.stages() == [OPENING, BALLOT]
    assert outcome(simulation) is Outcome.PARTIAL


def test_a_seat_without_a_position_does_not_dissent() -> None:
    simulation = simulate(council_of(["No", "No", "No", "Perhaps"], ballot=("o1",)))
    assert dissenters(simulation.state) == ("s0", "s1", "s2")


def test_an_absent_dissenter_is_not_asked_for_a_report() -> None:
    simulation = simulate(failing(SPLIT, ("s1", BALLOT)))
    assert dissenters(simulation.state) == ("s1", "s2")
    assert simulation.asked(TurnKind.DISSENT) == ["s2"]


def test_a_closed_round_without_a_tally_fails_instead_of_guessing() -> None:
    turn = TurnState(id="t", seat="s0", kind=TurnKind.ANSWER, ordinal=0, status=DONE, answer=Answer(answer="x"))
    broken = RoundState(number=1, stage=OPENING, closed=True, turns=(turn,))
    simulation = Simulation(Protocol(), seats(2))
    simulation.state = RunState(protocol=Protocol(), seats=seats(2), rounds=(broken,))
    assert simulation.run(SPLIT).reason == "tally_failed"
