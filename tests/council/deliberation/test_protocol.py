"""Settings become protocols, or errors that point; seats have names."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation.protocol import (
    PRESETS,
    ProtocolError,
    check_options,
    check_seats,
    quorum_size,
    resolve,
    seat_label,
    voters,
)
from council.deliberation.types import (
    Protocol,
    QuorumPolicy,
    Rule,
    RunState,
    SeatState,
    Stage,
)
from tests.council.deliberation.simulation import council_of, seats

OPENING, DEBATE, BALLOT, SYNTHESIS = Stage.OPENING, Stage.DEBATE, Stage.BALLOT, Stage.SYNTHESIS
SPLIT = council_of(["Yes", "No", "Later", "Yes"])


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
    ("asked", "pointer"),
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
        ({"stages": []}, "/protocol/stages"),
        ({"stages": ["opening"]}, "/protocol/stages/0"),
        ({"stages": ["ballot", "synthesis"]}, "/protocol/stages/0"),
        ({"stages": ["opening", "ballot", "debate", "synthesis"]}, "/protocol/stages/2"),
        ({"stages": ["opening", "ballot", "ballot", "synthesis"]}, "/protocol/stages/2"),
        ({"stages": ["opening", "attack", "ballot", "synthesis"]}, "/protocol/stages/1"),
        ({"stages": ["opening", "tally", "ratify"]}, "/protocol/stages/2"),
        ({"preset": "delphi", "stages": ["opening", "ballot", "synthesis"]}, "/protocol/stages/1"),
        ({"preset": "delphi", "estimate": None}, "/protocol/estimate"),
        ({"estimate": {"low": 3, "high": 1}, "stages": ["opening", "tally"]}, "/protocol/estimate"),
        ({"preset": "delphi", "estimate": {"kind": "likert", "low": 1}}, "/protocol/estimate"),
        ({"preset": "delphi", "estimate": {"kind": "guess"}}, "/protocol/estimate/kind"),
        ({"preset": "delphi", "estimate": {"step": 2}}, "/protocol/estimate/step"),
        ({"preset": "red-team", "rounds": 0}, "/protocol/stages/1"),
        ({"neighbours": 0}, "/protocol/neighbours"),
        ({"merge_at": 1.1}, "/protocol/merge_at"),
        ({"stable_at": -1}, "/protocol/stable_at"),
        ({"stages": ["opening", "lunch", "synthesis"]}, "/protocol/stages/1"),
        ({"stages": "opening"}, "/protocol/stages"),
        ({"stages": ["opening", "synthesis"], "rounds": 1}, "/protocol/rounds"),
        ({"a/b~c": 1}, "/protocol/a~1b~0c"),
        ({"rule": object()}, "/protocol"),
    ],
)
def test_a_bad_setting_is_pointed_at(asked: Mapping[str, object], pointer: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        resolve(asked)
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


def test_presets_are_what_they_are_called() -> None:
    stages = {name: [stage.value for stage in preset.stages] for name, preset in PRESETS.items()}
    assert stages == {
        "council": ["opening", "ballot", "synthesis"],
        "debate": ["opening", "debate", "ballot", "synthesis"],
        "poll": ["opening", "tally"],
        "delphi": ["opening", "debate", "synthesis"],
        "red-team": ["opening", "attack", "debate", "ballot", "synthesis"],
    }
    assert all(resolve({"preset": name}) == preset for name, preset in PRESETS.items())


def test_a_ratification_can_be_asked_for_in_any_protocol_that_writes() -> None:
    assert resolve({"stages": ["opening", "ballot", "synthesis", "ratify"]}).stages[-1] is Stage.RATIFY


def test_an_estimate_has_no_options() -> None:
    check_options(resolve({"preset": "delphi"}), [])
    check_options(resolve(None), ["Yes", "No"])
    with pytest.raises(ProtocolError) as refused:
        check_options(resolve({"preset": "delphi"}), ["Yes", "No"])
    assert refused.value.errors[0]["pointer"] == "/options"


def test_a_protocol_of_the_first_release_loads_and_resolves_to_itself() -> None:
    stored = {
        "preset": "debate", "stages": ["opening", "debate", "ballot", "synthesis"], "rule": "schulze", "rounds": 1,
        "quorum": None, "policy": "refuse", "turn_deadline_s": 120.0, "run_deadline_s": 1800.0,
        "agree_at": 0.6666666666666666, "evidence_k": 6,
    }  # fmt: skip
    assert Protocol.model_validate(stored) == resolve(stored) == PRESETS["debate"]


@given(
    st.fixed_dictionaries(
        {"preset": st.sampled_from(sorted({*PRESETS} - {"red-team"}))},
        optional={
            "rule": st.sampled_from([rule.value for rule in Rule]),
            "rounds": st.integers(0, 5),
            "quorum": st.none() | st.integers(2, 9),
            "agree_at": st.floats(0.51, 1),
            "turn_deadline_s": st.floats(0.1, 3600),
        },
    )
)
def test_a_stored_protocol_resolves_to_itself(asked: dict[str, object]) -> None:
    protocol = resolve(asked)
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


# --- reading ----------------------------------------------------------------------------------------------------------


def test_seats_are_called_by_letters_in_position_order() -> None:
    table = (SeatState(id="x", position=9), SeatState(id="y", position=2), SeatState(id="c", position=0, chair=True))
    state = RunState(protocol=Protocol(), seats=table)
    assert [seat.id for seat in voters(state)] == ["y", "x"]
    assert [seat_label(state, seat) for seat in ("y", "x", "c")] == ["Seat A", "Seat B", "The chair"]


def test_letters_go_on_after_z() -> None:
    state = RunState(protocol=Protocol(), seats=seats(28))
    assert [seat_label(state, f"s{i}") for i in (25, 26, 27)] == ["Seat Z", "Seat AA", "Seat AB"]
