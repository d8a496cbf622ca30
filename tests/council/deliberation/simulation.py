"""A run without a database: applies steps to a ``RunState`` and finishes turns as told. Tallies are real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from council.deliberation import estimates
from council.deliberation.ballots import build_candidates, candidate_of
from council.deliberation.consensus import tally
from council.deliberation.protocol import known_candidates, next_step, positions, resolve
from council.deliberation.types import (
    Answer,
    Ask,
    Attack,
    Ballot,
    CloseRound,
    Conclude,
    GateAnswer,
    NewTurn,
    Outcome,
    Protocol,
    Release,
    RoundState,
    RunState,
    SeatState,
    Stage,
    Step,
    Tally,
    TurnKind,
    TurnState,
    TurnStatus,
    Verdict,
)

Result = Answer | Attack | Ballot | GateAnswer | TurnStatus | Verdict
Behaviour = Callable[[TurnState, RoundState], Result]


def seats(voters: int, *, chair: bool = True) -> tuple[SeatState, ...]:
    """Voters "s0".. in positions 0.., then a chair called "chair"."""
    table = tuple(SeatState(id=f"s{i}", position=i) for i in range(voters))
    return (*table, SeatState(id="chair", position=voters, chair=True)) if chair else table


class Simulation:
    """Mutable wrapper of an immutable state; what the orchestrator does with the database, in memory."""

    def __init__(
        self, protocol: Protocol, table: tuple[SeatState, ...], options: tuple[str, ...] = ("Yes", "No", "Later")
    ) -> None:
        self.state = RunState(protocol=protocol, seats=table, options=options, seed=11)
        self.conclusion: Conclude | None = None

    def step(self) -> Step:
        """Ask for the next step and carry it out."""
        step = next_step(self.state)
        if isinstance(step, Ask):
            self._ask(step)
        elif isinstance(step, CloseRound):
            self._replace(self.state.rounds[step.number - 1].model_copy(update={"closed": True}))
        elif isinstance(step, Release):
            for turn in self.open_turns():
                if turn.id in step.turns:
                    self.finish(turn.model_copy(update={"released": True}), TurnStatus.CANCELLED)
        elif isinstance(step, Conclude):
            self.conclusion = step
        return step

    def open_turns(self) -> list[TurnState]:
        return [turn for round_ in self.state.rounds for turn in round_.turns if not turn.status.terminal]

    def finish(self, turn: TurnState, result: Result) -> None:
        """End an open turn: with an answer or ballot, or with a bare status."""
        update: dict[str, object] = {"status": result if isinstance(result, TurnStatus) else TurnStatus.COMPLETED}
        if isinstance(result, Answer):
            update["answer"] = result
        if isinstance(result, Ballot):
            update["ballot"] = result
        if isinstance(result, Verdict):
            update["verdict"] = result
        if isinstance(result, Attack):
            update["attack"] = result
        if isinstance(result, GateAnswer):
            update["gate"] = result
        round_ = self._round_of(turn)
        done = turn.model_copy(update=update)
        round_ = round_.model_copy(update={"turns": tuple(done if t.id == turn.id else t for t in round_.turns)})
        self._replace(round_)
        if turn.kind is TurnKind.TALLY and result is TurnStatus.COMPLETED:
            self._replace(round_.model_copy(update={"tally": self._count(round_)}))

    def exhaust(self, reason: str) -> None:
        """Out of time or money: the orchestrator cancels what is open."""
        self.state = RunState.model_validate(self.state.model_dump() | {"exhausted": reason})
        for turn in self.open_turns():
            self.finish(turn, TurnStatus.CANCELLED)

    def run(self, behave: Behaviour) -> Conclude:
        """To the end; ``behave`` finishes every turn but tallies, which succeed."""
        while self.conclusion is None:
            self.advance(behave)
        return self.conclusion

    def advance(self, behave: Behaviour) -> None:
        """One step, and the end of every turn that it asked for."""
        self.step()
        for turn in self.open_turns():
            done = TurnStatus.COMPLETED if turn.kind is TurnKind.TALLY else behave(turn, self._round_of(turn))
            self.finish(turn, done)

    def stages(self) -> list[Stage]:
        return [round_.stage for round_ in self.state.rounds]

    def asked(self, kind: TurnKind) -> list[str | None]:
        return [turn.seat for round_ in self.state.rounds for turn in round_.turns if turn.kind is kind]

    # --- what the database would do -----------------------------------------------------------------------------------

    def _round_of(self, turn: TurnState) -> RoundState:
        return next(r for r in self.state.rounds if any(t.id == turn.id for t in r.turns))

    def _replace(self, round_: RoundState) -> None:
        rounds = tuple(round_ if r.number == round_.number else r for r in self.state.rounds)
        self.state = self.state.model_copy(update={"rounds": rounds})

    def _ask(self, ask: Ask) -> None:
        if ask.number > len(self.state.rounds):
            fresh = RoundState(number=ask.number, stage=ask.stage, closed=False)
            self.state = self.state.model_copy(update={"rounds": (*self.state.rounds, fresh)})
        round_ = self.state.rounds[ask.number - 1]
        turns = (*round_.turns, *(_pending(ask.number, turn) for turn in ask.turns))
        self._replace(round_.model_copy(update={"turns": turns}))

    def _count(self, round_: RoundState) -> Tally:
        answers = positions(self.state)
        if self.state.protocol.estimate is not None:
            return estimates.tally(answers, self.state.protocol.estimate)
        candidates = build_candidates(self.state.options, answers, known_candidates(self.state))
        cast = {turn.seat: turn.ballot for turn in round_.turns if turn.seat and turn.ballot}
        return tally(
            candidates,
            candidate_of(candidates),
            cast if round_.stage is Stage.BALLOT else None,
            self.state.protocol.rule,
            self.state.seed,
            {seat: answer.confidence for seat, answer in answers.items()},
        )


def _pending(number: int, new: NewTurn) -> TurnState:
    identifier = f"{number}/{new.seat}/{new.kind}/{new.ordinal}"
    return TurnState(id=identifier, seat=new.seat, kind=new.kind, ordinal=new.ordinal, status=TurnStatus.PENDING)


def council_of(choices: Iterable[str], *, ballot: tuple[str, ...] = ("o1", "o2", "o3")) -> Behaviour:
    """Seat i always answers with the i-th option; everybody casts ``ballot``; everything else succeeds."""
    held = list(choices)

    def behave(turn: TurnState, _: RoundState) -> Result:
        if turn.kind is TurnKind.ANSWER:
            option = held[int((turn.seat or "s0")[1:])]
            return Answer(answer=f"I say {option}", option=option)
        return Ballot(ranking=ballot) if turn.kind is TurnKind.BALLOT else TurnStatus.COMPLETED

    return behave


def failing(behave: Behaviour, *points: tuple[str, Stage]) -> Behaviour:
    """The same, except that the given seats fail in the given stages."""

    def fail(turn: TurnState, round_: RoundState) -> Result:
        return TurnStatus.FAILED if (turn.seat, round_.stage) in points else behave(turn, round_)

    return fail


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
