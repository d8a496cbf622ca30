"""Whatever seats, turns, clocks and budgets do, ``next_step`` answers, keeps its promises and comes to an end."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from council.deliberation.gates import DEBATES_MAX
from council.deliberation.protocol import final_tally, next_step, present, quorum_size, resolve, voters
from council.deliberation.types import (
    Answer,
    Ask,
    Attack,
    Ballot,
    Conclude,
    GateAnswer,
    Outcome,
    Protocol,
    QuorumPolicy,
    Release,
    RoundState,
    Rule,
    RunState,
    Stage,
    Step,
    TurnKind,
    TurnState,
    TurnStatus,
    Verdict,
    Wait,
)
from tests.council.deliberation.simulation import Result, Simulation, seats

OPTIONS = ("Yes", "No", "Later")
LOST = st.sampled_from([TurnStatus.FAILED, TurnStatus.CANCELLED])
VOTE_OPEN = st.just(Ballot(abstain=True))  # open candidates have ids that only a tally knows
CAUSES = st.none() | st.just("new evidence")

every_setting: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "stages": st.sampled_from(
            [
                ["opening", "synthesis"],
                ["opening", "ballot", "synthesis"],
                ["opening", "debate", "synthesis"],
                ["opening", "debate", "ballot", "synthesis"],
                ["opening", "attack", "debate", "ballot", "synthesis", "ratify"],
                ["opening", "ballot", "synthesis", "ratify"],
                ["opening", "debate", "tally"],
            ]
        ),
        "rule": st.sampled_from([decision.value for decision in Rule]),
        "policy": st.sampled_from([policy.value for policy in QuorumPolicy]),
        "quorum": st.none() | st.integers(2, 4),
        "agree_at": st.sampled_from([0.6, 1.0]),
        "gate": st.sampled_from([None, "before_synthesis"]),
    }
)
protocols = every_setting.filter(lambda settings: settings["gate"] is None or "synthesis" in settings["stages"])
GATE = st.builds(GateAnswer, decision=st.sampled_from(["approve", "debate", "stop"]))


def protocol_of(settings: dict[str, object], rounds: int) -> Protocol:
    debates = resolve(settings).rounds > 0
    return resolve(settings | {"rounds": rounds} if debates else settings)


def results(turn: TurnState, options: tuple[str, ...]) -> st.SearchStrategy[Result]:
    """Anything that this turn may end with. Failure is rare enough (one vote in five, one tally in thirty) and complicated
    enough (the highest draw, so that shrinking avoids it) for runs to get beyond the opening."""
    good: st.SearchStrategy[Result] = st.just(TurnStatus.COMPLETED)
    if turn.kind is TurnKind.ANSWER:
        texts = st.sampled_from(["Yes", "No", "no.", "Maybe"])
        chosen = st.sampled_from([*options, None]) if options else st.none()
        good = st.builds(Answer, answer=texts, option=chosen, changed_because=CAUSES)
    if turn.kind is TurnKind.BALLOT:
        good = st.just(Ballot(abstain=True)) | st.just(Ballot(ranking=("o2",))) if options else VOTE_OPEN
    if turn.kind is TurnKind.GATE:
        good = GATE
    if turn.kind is TurnKind.ATTACK:
        good = st.just(Attack(text="No."))
    if turn.kind is TurnKind.RATIFY:
        good = st.builds(Verdict, accept=st.booleans())
    worst = 29 if turn.kind is TurnKind.TALLY else 4
    return st.integers(0, worst).flatmap(lambda luck: LOST if luck == worst else good)


def check_conclusion(state: RunState, end: Conclude) -> None:
    """A failure has a known reason; a decision had a quorum in every stage that needs one, or says that it had none."""
    if end.status == "failed":
        assert end.reason in {"quorum_not_met", "no_answers", "tally_failed", "deadline", "budget"}
        assert end.reason not in {"deadline", "budget"} or end.reason == state.exhausted
        return
    needed = quorum_size(state.protocol, len(voters(state)))
    opening = turnout(state, Stage.OPENING, default=0)
    assert opening >= (1 if state.protocol.policy is QuorumPolicy.PARTIAL else needed)
    if end.outcome is Outcome.PARTIAL:
        assert end.notes
        return
    assert min(opening, turnout(state, Stage.BALLOT, default=needed)) >= needed
    tally = final_tally(state)
    assert tally
    assert (tally.winner is None) == (end.outcome is Outcome.NO_CONSENSUS)


def turnout(state: RunState, stage: Stage, default: int) -> int:
    """Completed turns of seats in the last round of a stage."""
    rounds = [round_ for round_ in state.rounds if round_.stage is stage]
    return sum(t.seat is not None and t.status is TurnStatus.COMPLETED for t in rounds[-1].turns) if rounds else default


class Council(RuleBasedStateMachine):
    """Steps, ends of turns and the end of time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation(resolve(None), seats(3))
        self.steps = 0

    @initialize(
        settings=protocols,
        rounds=st.integers(1, 3),
        voting=st.sampled_from([3, 4, 5, 2, 1, 0]),
        chair=st.booleans(),
        options=st.sampled_from([(), OPTIONS]),
    )
    def convene(
        self, settings: dict[str, object], rounds: int, voting: int, chair: bool, options: tuple[str, ...]
    ) -> None:
        self.simulation = Simulation(protocol_of(settings, rounds), seats(voting, chair=chair), options)

    # --- what may happen ----------------------------------------------------------------------------------------------

    @rule()
    def advance(self) -> None:
        if self.simulation.conclusion is None:
            self._step()
        else:
            assert next_step(self.state) == self.simulation.conclusion

    @precondition(lambda self: self.simulation.open_turns())
    @rule(data=st.data())
    def end_a_turn(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.simulation.open_turns()), label="turn")
        self.simulation.finish(turn, data.draw(results(turn, self.state.options), label="result"))

    @precondition(lambda self: self.simulation.conclusion is None)
    @rule(data=st.data())
    def end_all_turns(self, data: st.DataObject) -> None:
        """Most of a run is this; alone, the rules above would rarely get beyond the opening."""
        for turn in self.simulation.open_turns():
            self.simulation.finish(turn, data.draw(results(turn, self.state.options), label=turn.id))
        self._step()

    @precondition(lambda self: self.state.exhausted is None and self.simulation.conclusion is None)
    @rule(reason=st.sampled_from(["deadline", "budget"]), skip=st.integers(0, 9))
    def run_out(self, reason: str, skip: int) -> None:
        if skip == 9:  # rarely, or most runs would be over before they began
            self.simulation.exhaust(reason)

    def teardown(self) -> None:
        """Let every remaining turn fail: the run must end within its bound, which counts waits out."""
        bound = 4 * (self.state.protocol.rounds + 7) + 2
        bound += 4 * 3 * DEBATES_MAX * (self.state.protocol.gate is not None)  # a debate, a ballot and the gate again
        while self.simulation.conclusion is None:
            self._step()
            for turn in self.simulation.open_turns():
                done = TurnStatus.COMPLETED if turn.kind is TurnKind.TALLY else TurnStatus.FAILED
                self.simulation.finish(turn, done)
            assert self.steps <= bound
        check_conclusion(self.state, self.simulation.conclusion)

    @property
    def state(self) -> RunState:
        return self.simulation.state

    def _step(self) -> None:
        before = self.state
        step = self.simulation.step()
        assert next_step(before) == step
        self.steps += not isinstance(step, Wait)
        self._check_step(before, step)

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _check_step(self, before: RunState, step: Step) -> None:
        waiting = any(not turn.status.terminal for round_ in before.rounds for turn in round_.turns)
        if isinstance(step, Ask):
            assert step.turns
            assert before.exhausted is None or [turn.kind for turn in step.turns] == [TurnKind.TALLY]
            here = {seat.id for seat in present(before)}
            voting = {TurnKind.ANSWER, TurnKind.BALLOT, TurnKind.RATIFY}
            asked = {turn.seat for turn in step.turns if turn.kind in voting}
            assert asked in (set(), here)
        elif isinstance(step, Wait | Release):
            assert waiting
        else:
            assert not waiting

    @invariant()
    def at_most_the_last_round_is_open(self) -> None:
        assert all(round_.closed for round_ in self.state.rounds[:-1])

    @invariant()
    def rounds_are_numbered_without_gaps(self) -> None:
        assert [round_.number for round_ in self.state.rounds] == list(range(1, len(self.state.rounds) + 1))

    @invariant()
    def no_turn_is_asked_twice(self) -> None:
        keys = Counter(turn.id for round_ in self.state.rounds for turn in round_.turns)
        assert not keys or max(keys.values()) == 1

    @invariant()
    def the_chair_neither_answers_nor_votes(self) -> None:
        kinds = {turn.kind for round_ in self.state.rounds for turn in round_.turns if turn.seat == "chair"}
        assert kinds <= {TurnKind.SYNTHESIS}

    @invariant()
    def stages_keep_the_protocol_and_its_rounds(self) -> None:
        stages = self.simulation.stages()
        revised = [Stage.SYNTHESIS, Stage.RATIFY] * 2
        between = [at for at, stage in enumerate(stages) if stage is Stage.GATE]
        for start, end in pairwise(between):  # what a person asked for: one debate, and a ballot where there is one
            assert stages[start + 1 : end] in ([Stage.DEBATE], [Stage.DEBATE, Stage.BALLOT])
        stages = [stage for at, stage in enumerate(stages) if not between or not between[0] < at <= between[-1]]
        if (
            between
            and stages[-2:] in ([Stage.GATE, Stage.DEBATE], [Stage.DEBATE, Stage.BALLOT])
            and Stage.GATE in stages
        ):
            stages = stages[: stages.index(Stage.GATE) + 1]  # on the way back to it
        once = stages[:-2] if stages[-4:] == revised else stages[:-1] if stages[-3:] == revised[:3] else stages
        assert once == sorted(once, key=list(Stage).index)
        assert set(stages) - {Stage.GATE} <= set(self.state.protocol.stages)
        assert stages.count(Stage.DEBATE) <= self.state.protocol.rounds

    @invariant()
    def a_seat_that_failed_is_not_asked_again_for_its_vote(self) -> None:
        lost: set[str] = set()
        for round_ in self.state.rounds:
            votes = [turn for turn in round_.turns if turn.kind in {TurnKind.ANSWER, TurnKind.BALLOT} and turn.seat]
            assert not lost & {turn.seat for turn in votes}
            lost |= {turn.seat for turn in votes if turn.seat and turn.status.terminal and turn.status != "completed"}


TestCouncil = Council.TestCase
TestCouncil.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(
    chosen=protocols,
    rounds=st.integers(1, 3),
    voting=st.integers(2, 6),
    loss=st.sampled_from([0.0, 0.1, 0.4]),
    rng=st.randoms(use_true_random=False),
    last_turn=st.none() | st.integers(0, 25),
)
@settings(max_examples=200, deadline=None)
def test_whole_runs_end_as_they_should(
    chosen: dict[str, object], rounds: int, voting: int, loss: float, rng: random.Random, last_turn: int | None
) -> None:
    """From beginning to end with votes at random, which the machine above seldom reaches; out of time after ``last_turn``."""
    simulation = Simulation(protocol_of(chosen, rounds), seats(voting), OPTIONS)
    done = 0

    def behave(turn: TurnState, _: RoundState) -> Result:
        nonlocal done
        done += 1
        if rng.random() < loss or (last_turn is not None and done > last_turn):
            return TurnStatus.FAILED
        if turn.kind is TurnKind.GATE:
            return GateAnswer(decision=rng.choice(["approve", "debate", "stop"]))
        if turn.kind is TurnKind.RATIFY:
            return Verdict(accept=rng.random() < 0.5)
        if turn.kind not in {TurnKind.ANSWER, TurnKind.BALLOT}:
            return TurnStatus.COMPLETED
        if turn.kind is TurnKind.ANSWER:
            return Answer(answer="so", option=rng.choice(OPTIONS), changed_because="evidence")
        return Ballot(ranking=tuple(rng.sample(("o1", "o2", "o3"), rng.randint(1, 3))))

    while simulation.conclusion is None:
        if last_turn is not None and done > last_turn and simulation.state.exhausted is None:
            simulation.exhaust("deadline")
        simulation.advance(behave)
    check_conclusion(simulation.state, simulation.conclusion)
