"""How far seats agree: figures over positions and rankings. Pure arithmetic, no decision depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from council.deliberation.types import Ballot


def modal_share(positions: Mapping[str, str]) -> float:
    """Seats that hold the most common position divided by seats with a position; 0.0 when no seat has one."""
    held = Counter(positions.values())
    return max(held.values()) / len(positions) if positions else 0.0


def kendall_w(ballots: Mapping[str, Ballot]) -> float | None:
    """Kendall's coefficient of concordance, 0 (no agreement) to 1 (identical rankings), over the candidates that are named by
    some ballot and were withheld from none; what a ballot leaves out is tied at its end.

    None when it says nothing: fewer than two ballots or two such candidates, or every ballot ties them all.
    """
    cast = [ballot for ballot in ballots.values() if ballot.ranking and not ballot.abstain]
    withheld = {candidate for ballot in cast for candidate in ballot.unseen}
    items = sorted({candidate for ballot in cast for candidate in ballot.ranking} - withheld)
    if len(cast) < 2 or len(items) < 2:
        return None
    return concordance([_mid_ranks(ballot, items) for ballot in cast])


def _mid_ranks(ballot: Ballot, items: Sequence[str]) -> list[float]:
    named = [candidate for candidate in ballot.ranking if candidate in items]
    tied = (len(named) + 1 + len(items)) / 2
    return [float(named.index(item) + 1) if item in named else tied for item in items]


def concordance(ranks: Sequence[Sequence[float]]) -> float | None:
    """W of k judges (rows) who rank the same n items (columns; mid-ranks where they tie), corrected for ties:
    ``12 S / (k² (n³ - n) - k ΣT)`` with ``T = Σ (t³ - t)`` over the ties of a judge; None when every judge ties everything.

    Kendall and Babington Smith, "The problem of m rankings", Annals of Mathematical Statistics 10 (1939), 275 to 287.
    """
    k, n = len(ranks), len(ranks[0])
    sums = [sum(column) for column in zip(*ranks, strict=True)]
    spread = sum((value - k * (n + 1) / 2) ** 2 for value in sums)
    ties = sum(t**3 - t for row in ranks for t in Counter(row).values())
    span = k * k * (n**3 - n) - k * ties
    return 12 * spread / span if span else None
