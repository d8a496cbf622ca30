"""The consensus round: from a stored run to a ``Tally``. Pure given the run state and the recorded opinion of what says the same
(``Merging``), so ``recount`` is the same call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from council.deliberation import ballots as b
from council.deliberation import estimates, merging
from council.deliberation.consensus import VERSION, tally
from council.deliberation.protocol import known_candidates, positions
from council.deliberation.types import Answer, Ballot, Candidate, Merging, RoundState, RunState, Stage, Tally, TurnKind


def up_to(state: RunState, number: int) -> RunState:
    """The run as it stood when round ``number`` was counted."""
    return state.model_copy(update={"rounds": tuple(r for r in state.rounds if r.number <= number)})


def count(state: RunState, number: int, alike: Merging | None) -> Tally:
    """Count round ``number`` from its stored answers or ballots and the recorded seed; again, when it has a tally, by the rules
    that there were then. ``alike`` says which open answers are one."""
    state = up_to(state, number)
    answers = positions(state)
    strayed = tuple(sorted(seat for seat, answer in answers.items() if answer.overlap == 0))
    if state.protocol.estimate is not None:
        return estimates.tally(answers, state.protocol.estimate).model_copy(update={"strayed": strayed})
    counted = _vote(state, number, answers, alike)
    return counted.model_copy(update={"strayed": strayed, "merging": alike})


def _vote(state: RunState, number: int, answers: Mapping[str, Answer], alike: Merging | None) -> Tally:
    round_ = next(r for r in state.rounds if r.number == number)
    candidates = b.build_candidates(state.options, answers, known_candidates(up_to(state, number - 1)), _same(alike))
    cast = _ballots(state, round_, answers, candidates) if round_.stage == Stage.BALLOT else None
    return tally(
        candidates,
        b.candidate_of(candidates),
        cast,
        state.protocol.rule,
        state.seed,
        {seat: answer.confidence for seat, answer in answers.items()},
        round_.tally.version if round_.tally else VERSION,
    )


def _same(alike: Merging | None) -> Callable[[str], str]:
    """One key for texts that were taken to say the same; the normalised text where a text stands alone."""
    leaders = merging.representatives(alike)
    return lambda text: leaders.get(merging.key(text), b.normalise(text))


def to_compare(state: RunState, number: int) -> tuple[str, ...]:
    """Open answers whose meaning is to be compared before round ``number`` is counted; none when there is nothing to merge.
    What stood before is among them, so that an answer that returns in other words keeps its candidate."""
    if state.options or state.protocol.estimate is not None or state.protocol.merge_at is None:
        return ()
    texts = [answer.answer for answer in positions(up_to(state, number)).values()]
    earlier = [candidate.text for candidate in known_candidates(up_to(state, number - 1))]
    found = merging.distinct([*texts, *earlier])
    return found if len(found) > 1 else ()


def _ballots(
    state: RunState, round_: RoundState, answers: Mapping[str, Answer], candidates: tuple[Candidate, ...]
) -> dict[str, Ballot]:
    texts = b.texts_for_ballot(state.options, answers)
    clusters = b.text_clusters(texts, candidates)
    cast = {t.seat: t.ballot for t in round_.turns if t.kind == TurnKind.BALLOT and t.seat and t.ballot is not None}
    return b.to_cluster_ballots(cast, clusters, b.own_clusters(b.own_texts(texts), clusters))


def ballot_texts(state: RunState, number: int) -> tuple[Candidate, ...]:
    """What stands on the ballots of round ``number``."""
    return b.texts_for_ballot(state.options, positions(up_to(state, number)))


def presented(
    state: RunState, voters: Sequence[str], number: int
) -> tuple[tuple[Candidate, ...], dict[str, tuple[str, ...]]]:
    """What stands on the ballots of round ``number``, and in which order each voter reads it."""
    texts = ballot_texts(state, number)
    orders = b.presentation_orders(voters, [text.id for text in texts], state.seed, b.own_texts(texts))
    return texts, orders
