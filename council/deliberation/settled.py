"""Whether the ballots that are still out can change who wins.

``settled`` is cautious: True means that no ballots of theirs whatever could elect another candidate; False means nothing. Rules that
add up points have no entry here, for under them a few ballots can turn nearly everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from council.deliberation import ballots as b
from council.deliberation.record import latest_tally, positions
from council.deliberation.types import Ballot, RoundState, RunState, TurnKind


def settled(state: RunState, round_: RoundState, out: int) -> bool:
    """``round_`` is a ballot with ``out`` ballots to come; the candidates are those of the count before it."""
    test = _TESTS.get(state.protocol.rule.value)
    before = latest_tally(state)
    if test is None or before is None:
        return False
    texts = b.texts_for_ballot(state.options, positions(state))
    clusters = b.text_clusters(texts, before.candidates)
    cast = {t.seat: t.ballot for t in round_.turns if t.kind is TurnKind.BALLOT and t.seat and t.ballot is not None}
    mapped = b.to_cluster_ballots(cast, clusters, b.own_clusters(b.own_texts(texts), clusters))
    return test([candidate.id for candidate in before.candidates], list(mapped.values()), out)


def _first_by_more(ids: Sequence[str], cast: Sequence[Ballot], out: int) -> bool:
    """Plurality: the leader's first choices exceed the runner-up's by more than there are ballots to come."""
    firsts = Counter(one.ranking[0] for one in cast if _chose(one, ids))
    counts = sorted((firsts[candidate] for candidate in ids), reverse=True)
    return len(counts) > 1 and counts[0] - counts[1] > out


def _first_of_most(ids: Sequence[str], cast: Sequence[Ballot], out: int) -> bool:
    """Rules that elect whoever is first on more than half of all ballots. Only where nothing was withheld from anybody: with what
    a voter was not shown missing, half of the ballots may not be half of the comparisons."""
    firsts = Counter(one.ranking[0] for one in cast if _chose(one, ids))
    return not any(one.unseen for one in cast) and 2 * max(firsts.values(), default=0) > len(cast) + out


def _beats_all(ids: Sequence[str], cast: Sequence[Ballot], out: int) -> bool:
    """Condorcet's rules: somebody beats every rival by more ballots than are to come."""
    return any(all(_lead(one, rival, cast) > out for rival in ids if rival != one) for one in ids)


def _chose(ballot: Ballot, ids: Sequence[str]) -> bool:
    """A voter who was shown one candidate of several had no choice (see ``rules``)."""
    return bool(ballot.ranking) and not ballot.abstain and len(ids) - len(ballot.unseen) > 1


def _lead(one: str, rival: str, cast: Sequence[Ballot]) -> int:
    return sum(_prefers(ballot, one, rival) - _prefers(ballot, rival, one) for ballot in cast)


def _prefers(ballot: Ballot, one: str, rival: str) -> bool:
    if ballot.abstain or one not in ballot.ranking or {one, rival} & set(ballot.unseen):
        return False
    return rival not in ballot.ranking or ballot.ranking.index(one) < ballot.ranking.index(rival)


_Test = Callable[[Sequence[str], Sequence[Ballot], int], bool]


def _positions_decide(_ids: Sequence[str], _cast: Sequence[Ballot], _out: int) -> bool:
    """Majority, two thirds and unanimity count what seats hold; the ballots are there to compare rules."""
    return True


_TESTS: Mapping[str, _Test] = {
    "plurality": _first_by_more,
    "irv": _first_of_most,
    "schulze": _beats_all,
    "ranked_pairs": _beats_all,
    "majority": _positions_decide,
    "two_thirds": _positions_decide,
    "unanimity": _positions_decide,
}
