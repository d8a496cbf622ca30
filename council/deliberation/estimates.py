"""Estimates of a figure: their distribution, when it has come to rest, and the count of a round in which seats give them.

The outcome is the median; the *range* is what the middle half of the estimates spans. A seat whose estimate lies beyond the range
dissents from it. Quartiles are estimates that were given, rounded outwards: of three estimates the range holds all (the
interpolated quartiles of 1, 2, 3 would make two of three seats outsiders), and a quartile of a Likert scale is a point of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from statistics import median

from council.deliberation.types import Agreement, Answer, Candidate, Distribution, Scale, Tally

DECIDED_BY = "estimates"
WITHIN, BELOW, ABOVE = "e1", "e2", "e3"


def distribution(values: Sequence[float]) -> Distribution | None:
    """None without estimates."""
    if not values:
        return None
    ordered, last = sorted(values), len(values) - 1
    return Distribution(
        n=len(ordered),
        low=ordered[0],
        q1=ordered[floor(last / 4)],
        median=float(median(ordered)),
        q3=ordered[ceil(3 * last / 4)],
        high=ordered[-1],
    )


def stable(before: Distribution, now: Distribution, scale: Scale, at: float) -> bool:
    """Whether a round moved neither quartile by more than ``at`` (a share) of the scale; where the scale has no two ends, of what
    the estimates before it spanned. 15 % is the "state of equilibrium" of Scheibe, Skutsch and Schofer, "Experiments in
    Delphi methodology", in Linstone and Turoff (eds.), The Delphi Method, 1975."""
    ends = scale.high - scale.low if scale.low is not None and scale.high is not None else before.high - before.low
    return max(abs(now.q1 - before.q1), abs(now.q3 - before.q3)) <= at * ends


def figure(value: float) -> str:
    """``12``, ``12.5``, ``1500000``: no exponent, at most four decimals."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def tally(answers: Mapping[str, Answer], scale: Scale) -> Tally:
    """The count of a round: the range of the middle half wins, and what lies beyond it are the other candidates."""
    given = {seat: answer.estimate for seat, answer in answers.items() if answer.estimate is not None}
    found = distribution(list(given.values()))
    if found is None:
        return _count((), None, {}, None)
    held = {seat: BELOW if value < found.q1 else ABOVE if value > found.q3 else WITHIN for seat, value in given.items()}
    texts = {
        WITHIN: _range_text(found, scale),
        BELOW: f"less than {_amount(found.q1, scale)}",
        ABOVE: f"more than {_amount(found.q3, scale)}",
    }
    candidates = tuple(
        Candidate(id=one, text=text, seats=tuple(sorted(seat for seat in held if held[seat] == one)))
        for one, text in texts.items()
        if one in held.values()
    )
    return _count(candidates, WITHIN, held, found)


def _range_text(found: Distribution, scale: Scale) -> str:
    if found.q1 == found.q3:
        return _amount(found.median, scale)
    span = f"{figure(found.q1)} to {_amount(found.q3, scale)}"
    return f"{_amount(found.median, scale)} (median; the middle half of the estimates: {span})"


def _amount(value: float, scale: Scale) -> str:
    return f"{figure(value)} {scale.unit}".strip()


def _count(
    candidates: tuple[Candidate, ...], winner: str | None, held: Mapping[str, str], found: Distribution | None
) -> Tally:
    within = sum(one == WITHIN for one in held.values())
    positions = {seat: held[seat] for seat in sorted(held)}
    return Tally(
        candidates=candidates,
        winner=winner,
        decided_by=DECIDED_BY if winner else "",
        rules={},
        margin=None,
        too_close=False,
        agreement=Agreement(modal_share=within / len(held) if held else 0.0, positions=positions),
        voters=len(held),
        estimates=found,
    )
