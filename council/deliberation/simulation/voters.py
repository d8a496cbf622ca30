"""What synthetic seats think. All draws come from the ``random.Random`` that is handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random
from statistics import NormalDist

RIGHT = "the right answer"
WRONG = tuple(f"wrong answer {n}" for n in range(1, 5))
NORMAL = NormalDist()


@dataclass(frozen=True)
class Voters:
    """``n`` seats that are alike.

    ``p``   competence: the chance of the right answer alone, and of preferring it to a wrong one when both are read (over .5)
    ``rho`` correlation of any two answers: a seat takes the common draw with probability √ρ
    ``c``   conformity: the chance to take the leading answer of those it has seen before giving its own
    ``s``   self-preference: how much better its own text looks; 1 is the distance between right and wrong
    ``b``   position bias: how much better the first text looks than the last, in the same unit
    """

    n: int
    p: float
    rho: float = 0.0
    c: float = 0.0
    s: float = 0.0
    b: float = 0.0


def opening(voters: Voters, wrong: Sequence[str], rng: Random, *, blind: bool) -> list[str]:
    """One answer for each seat. Where the opening is not blind each has seen those before it."""
    common = _answer(voters.p, wrong, rng)
    said: list[str] = []
    for _ in range(voters.n):
        alone = common if rng.random() < sqrt(voters.rho) else _answer(voters.p, wrong, rng)
        follows = rng.random() < voters.c  # drawn in either case, so that both kinds of opening meet the same seats
        leading = None if blind else _leading(said)
        said.append(leading if follows and leading else alone)
    return said


def _answer(p: float, wrong: Sequence[str], rng: Random) -> str:
    return RIGHT if rng.random() < p else rng.choice(wrong)


def _leading(said: Sequence[str]) -> str | None:
    """The answer that most have given; None while two are level."""
    ahead = Counter(said).most_common(2)
    level = not ahead or (len(ahead) > 1 and ahead[0][1] == ahead[1][1])
    return None if level else ahead[0][0]


def impressions(voters: Voters, texts: Sequence[str], rng: Random) -> dict[str, float]:
    """How good each text looks to one seat, before it knows whose it is and where it stands: 1 or 0, and noise that makes the
    right text look better than a wrong one with probability p."""
    spread = 1 / (sqrt(2) * NORMAL.inv_cdf(voters.p))
    return {text: float(text == RIGHT) + rng.gauss(0, spread) for text in sorted(texts)}


def perceived(voters: Voters, look: Mapping[str, float], order: Sequence[str], own: str) -> dict[str, float]:
    """``look`` as it is bent by authorship and place."""
    last = max(1, len(order) - 1)
    return {
        text: look[text] + voters.s * (text == own) + voters.b * (1 - place / last) for place, text in enumerate(order)
    }
