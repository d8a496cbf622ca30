"""Settings become protocols or errors that point; runs go from stage to stage as the protocol says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation.protocol import (
    PRESETS,
    Flip,
    ProtocolError,
    check_seats,
    dissenters,
    final_tally,
    flips,
    missing_seats,
    next_step,
    positions,
    quorum_size,
    resolve,
    seat_label,
    voters,
)
from council.deliberation.types import (
    Answer,
    Ask,
    Ballot,
    CloseRound,
    NewTurn,
    Outcome,
    Protocol,
    QuorumPolicy,
    RoundState,
    Rule,
    RunState,
    SeatState,
    Stage,
    TurnKind,
    TurnState,
    TurnStatus,
    Wait,
)
from tests.council.deliberation.simulation import Behaviour, Result, Simulation, council_of, failing, seats

OPENING, DEBATE, BALLOT, SYNTHESIS = Stage.OPENING, Stage.DEBATE, Stage.BALLOT, Stage.SYNTHESIS
SPLIT = council_of(["Yes", "No", "Later", "Yes"])


# --- settings ---------------------------------------------------------------------------------------------------------


def test_nothing_asked_for_is_the_council() -> None:
    assert resolve(None) == resolve({}) == PRESETS["council"]


def test_overrides_are_laid_over_the_preset() -> None:
    protocol = resolve({"preset": "debate", "rule": "borda", "rounds": 3, "quorum": 2, "policy": "partial"})
    assert protocol.stages == (OPENING, DEBATE, BALLOT, SYNTHESIS)
    assert (protocol.rule, protocol.rounds, protocol.quorum) == (Rule.BORDA, 3, 2)
    assert protocol.policy is QuorumPolicy.PARTIAL


def test_asking_for_rounds_adds_a_debate_and_none_removes_it() -> None:
    assert DEBATE in resolve({"rounds": 2}).stages
    assert DEBATE not in resolve({"preset": "debate", "rounds": 0}).stages


def test_stages_may_be_left_out_in_the_middle() -> None:
    assert resolve({"stages": ["opening", "synthesis"]}).rounds == 0
    assert resolve({"stages": ["opening", "debate", "synthesis"]}).rounds == 1


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ({"preset": "senate"}, "/protocol/preset"),
        ({"preset": None}, "/protocol/preset"),
        ({"preset": []}, "/protocol/preset"),
        ({"rule": "coin"}, "/protocol/rule"),
        ({"rounds": 6}, "/protocol/rounds"),
        ({"rounds": -1}, "/protocol/rounds"),
        ({"rounds": "2"}, "/protocol/rounds"),
        ({"rounds": True}, "/protocol/rounds"),
        ({"rounds": None}, "/protocol/rounds"),
        ({"quorum": 1}, "/protocol/quorum"),
        ({"policy": "hope"}, "/protocol/policy"),
        ({"turn_deadline_s": 0}, "/protocol/turn_deadline_s"),
        ({"turn_deadline_s": float("nan")}, "/protocol/turn_deadline_s"),
        ({"run_deadline_s": 86401}, "/protocol/run_deadline_s"),
        ({"agree_at": 0.5}, "/protocol/agree_at"),
        ({"evidence_k": 21}, "/protocol/evidence_k"),
        ({"stages": ["opening"]}, "/protocol/stages"),
        ({"stages": ["ballot", "opening", "synthesis"]}, "/protocol/stages"),
        ({"stages": ["opening", "ballot", "ballot", "synthesis"]}, "/protocol/stages"),
        ({"stages": ["opening", "lunch", "synthesis"]}, "/protocol/stages/1"),
        ({"stages": "opening"}, "/protocol/stages"),
        ({"stages": ["opening", "synthesis"], "rounds": 1}, "/protocol/rounds"),
        ({"a/b~c": 1}, "/protocol/a~1b~0c"),
        ({"rule": object()}, "/protocol"),
    ],
)
def test_a_bad_setting_is_pointed_at(settings: Mapping[str, object], pointer: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        resolve(settings)
    assert [error["pointer"] for error in refused.value.errors] == [pointer]


def test_every_fault_is_reported_and_unknown_settings_name_the_known() -> None:
    with pytest.raises(ProtocolError) as refused:
        resolve({"rule": "coin", "speed": 3})
    details = {error["pointer"]: error["detail"] for error in refused.value.errors}
    assert "'schulze'" in details["/protocol/rule"]
    assert "turn_deadline_s" in details["/protocol/speed"]


def test_settings_that_are_no_object_are_refused() -> None:
    with pytest.raises(ProtocolError):
        resolve(["council"])  # type: ignore[arg-type]  # what a request may contain


@given(
    st.fixed_dictionaries(
        {"preset": st.sampled_from(sorted(PRESETS))},
        optional={
            "rule": st.sampled_from([rule.value for rule in Rule]),
            "rounds": st.integers(0, 5),
            "quorum": st.none() | st.integers(2, 9),
            "agree_at": st.floats(0.51, 1),
            "turn_deadline_s": st.floats(0.1, 3600),
        },
    )
)
def test_a_stored_protocol_resolves_to_itself(settings: dict[str, object]) -> None:
    protocol = resolve(settings)
    assert resolve(protocol.model_dump()) == resolve(protocol.model_dump(mode="json")) == protocol
    assert (DEBATE in protocol.stages) == (protocol.rounds > 0)


@pytest.mark.parametrize(("voting", "needed"), [(1, 2), (2, 2), (3, 2), (4, 2), (5, 3), (8, 4), (9, 5)])
def test_quorum_is_half_but_at_least_two(voting: int, needed: int) -> None:
    assert quorum_size(Protocol(), voting) == needed
    assert quorum_size(Protocol(quorum=4), voting) == 4


@pytest.mark.parametrize(("quorum", "voting", "fits"), [(None, 2, True), (None, 1, False), (3, 3, True), (4, 3, False)])
def test_seats_must_be_able_to_meet_the_quorum(quorum: int | None, voting: int, fits: bool) -> None:
    if fits:
        check_seats(Protocol(quorum=quorum), voting)
        return
    with pytest.raises(ProtocolError):
        check_seats(Protocol(quorum=quorum), voting)


# --- the ordinary course ----------------------------------------------------------------------------------------------


def simulate(behave: Behaviour, *, voting: int = 4, chair: bool = True, **settings: object) -> Simulation:
    simulation = Simulation(resolve(settings), seats(voting, chair=chair))
    simulation.run(behave)
    return simulation


def outcome(simulation: Simulation) -> Outcome | str | None:
    """The outcome of a completed run or the reason of a failed one."""
    assert simulation.conclusion
    return simulation.conclusion.outcome or simulation.conclusion.reason


def notes(simulation: Simulation) -> str:
    assert simulation.conclusion
    return " ".join(simulation.conclusion.notes)


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


DONE = TurnStatus.COMPLETED


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


def test_an_absent_dissenter_is_not_asked_for_a_report() -> None:
    simulation = simulate(failing(SPLIT, ("s1", BALLOT)))
    assert dissenters(simulation.state) == ("s1", "s2")
    assert simulation.asked(TurnKind.DISSENT) == ["s2"]


# --- out of time or money ---------------------------------------------------------------------------------------------


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


# --- reading ----------------------------------------------------------------------------------------------------------


def test_seats_are_called_by_letters_in_position_order() -> None:
    table = (SeatState(id="x", position=9), SeatState(id="y", position=2), SeatState(id="c", position=0, chair=True))
    state = RunState(protocol=Protocol(), seats=table)
    assert [seat.id for seat in voters(state)] == ["y", "x"]
    assert [seat_label(state, seat) for seat in ("y", "x", "c")] == ["Seat A", "Seat B", "The chair"]


def test_letters_go_on_after_z() -> None:
    state = RunState(protocol=Protocol(), seats=seats(28))
    assert [seat_label(state, f"s{i}") for i in (25, 26, 27)] == ["Seat Z", "Seat AA", "Seat AB"]


def test_a_closed_round_without_a_tally_fails_instead_of_guessing() -> None:
    turn = TurnState(id="t", seat="s0", kind=TurnKind.ANSWER, ordinal=0, status=DONE, answer=Answer(answer="x"))
    broken = RoundState(number=1, stage=OPENING, closed=True, turns=(turn,))
    simulation = Simulation(Protocol(), seats(2))
    simulation.state = RunState(protocol=Protocol(), seats=seats(2), rounds=(broken,))
    assert simulation.run(SPLIT).reason == "tally_failed"
