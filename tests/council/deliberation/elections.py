"""Small elections for tests: profiles written as strings, and any profile at all."""

from __future__ import annotations

from hypothesis import strategies as st

from council.deliberation.consensus import tally
from council.deliberation.types import Ballot, Candidate, Rule, Tally

Profile = dict[str, Ballot]


def options(m: int) -> tuple[Candidate, ...]:
    return tuple(Candidate(id=f"o{i}", text=f"option {i}", option=f"option {i}") for i in range(m))


def profile(*rankings: str) -> Profile:
    """One ballot for each string; "201" ranks o2, o0, o1; "" abstains."""
    return {
        f"s{n}": Ballot(ranking=tuple(f"o{c}" for c in ranking), abstain=not ranking)
        for n, ranking in enumerate(rankings)
    }


def favourites(ballots: Profile) -> dict[str, str]:
    return {seat: ballot.ranking[0] for seat, ballot in ballots.items() if ballot.ranking}


def decide(m: int, ballots: Profile, rule: Rule = Rule.SCHULZE, seed: int = 0) -> Tally:
    return tally(options(m), favourites(ballots), ballots, rule, seed, {})


@st.composite
def elections(draw: st.DrawFn, max_m: int = 4, max_n: int = 6) -> tuple[int, Profile]:
    """Ballots of any length, abstentions and scores included."""
    m = draw(st.integers(1, max_m))
    cast = draw(st.lists(st.tuples(st.permutations(range(m)), st.integers(0, m)), max_size=max_n))
    ballots = profile(*("".join(map(str, order[:length])) for order, length in cast))
    scores = st.dictionaries(st.sampled_from([f"o{i}" for i in range(m)]), st.integers(0, 10))
    return m, {s: b if b.abstain else b.model_copy(update={"scores": draw(scores)}) for s, b in ballots.items()}
