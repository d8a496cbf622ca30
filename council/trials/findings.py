"""Rows of a trial into measures. Rows and questions in, values out; nothing is read or asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from council.deliberation import measures as m
from council.deliberation.intervals import Share
from council.trials import sampling
from council.trials.bench import CONSISTENCY, SINGLE
from council.trials.questions import Question
from council.trials.rows import Row


class Spending(NamedTuple):
    """For each answer, on average; ``usd`` and ``usd_total`` None where a price is unknown."""

    prompt_tokens: float
    completion_tokens: float
    calls: float
    seconds: float  # on the clock, with whatever else the trial asked at the same time
    usd: float | None
    tokens_total: int
    usd_total: float | None
    estimated: int  # rows some of whose tokens we counted, for the server did not say

    @property
    def tokens(self) -> float:
        return self.prompt_tokens + self.completion_tokens


class Helped(NamedTuple):
    """The openings' most frequent answer against the decision, over the same questions."""

    opening: Share
    final: Share
    gain: m.Difference


class Calibration(NamedTuple):
    n: int
    brier: float | None
    error: float | None
    bins: tuple[m.Bin, ...]


class Flips(NamedTuple):
    """Seats that left their position in a debate, by what moved them."""

    wrong_to_right: Mapping[str, int]
    right_to_wrong: Mapping[str, int]
    other: int  # from one wrong answer to another, or to other words for a right one


class OfProtocol(NamedTuple):
    protocol: str
    questions: int
    accuracy: Share
    statuses: Mapping[str, int]
    by_field: Mapping[str, Share]
    spending: Spending
    calibration: Calibration
    flips: Flips
    helped: Helped | None


class Compared(NamedTuple):
    """``b`` less ``a``."""

    a: str
    b: str
    by: m.Difference


class Findings(NamedTuple):
    protocols: tuple[OfProtocol, ...]
    differences: tuple[Compared, ...]
    at_equal_spend: tuple[Compared, ...]  # against the vote over as many answers as cost what the protocol cost


Scores = dict[str, float]


def find(rows: Sequence[Row], questions: Sequence[Question], protocols: Sequence[str], seed: int) -> Findings:
    """``protocols`` gives the order; those without a row are left out."""
    by = {one: [row for row in rows if row.protocol == one] for one in protocols}
    by = {one: found for one, found in by.items() if found}
    compared = [Compared(a, b, found) for a, b in _pairs(list(by)) if (found := _difference(by[a], by[b], seed))]
    return Findings(
        protocols=tuple(_of(one, found, seed) for one, found in by.items()),
        differences=tuple(compared),
        at_equal_spend=tuple(_at_equal_spend(rows, {one.id: one for one in questions}, list(by), seed)),
    )


def _pairs(asked: Sequence[str]) -> list[tuple[str, str]]:
    """Everything against the models without a council, or against what was named first where they were not asked."""
    bases = [one for one in (SINGLE, CONSISTENCY) if one in asked] or list(asked[:1])
    others = [one for one in asked if one not in bases]
    return list(pairwise(bases)) + [(base, other) for base in bases for other in others]


def scores(rows: Sequence[Row], of: Callable[[Row], float] = lambda row: row.score) -> Scores:
    """By question, the mean over its repeats."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row.question].append(of(row))
    return {question: fmean(values) for question, values in found.items()}


def _difference(a: Sequence[Row], b: Sequence[Row], seed: int) -> m.Difference | None:
    """The test takes first repeats alone: it knows right and wrong, and repeats are not independent."""
    found = m.difference(scores(a), scores(b), seed)
    return found._replace(p=m.mcnemar(_firsts(a), _firsts(b))) if found else None


def _firsts(rows: Sequence[Row]) -> dict[str, bool]:
    return {row.question: row.first for row in rows if row.repeat == 1}


def _of(protocol: str, rows: Sequence[Row], seed: int) -> OfProtocol:
    whole = scores(rows)
    fields = dict.fromkeys(row.field for row in rows)
    return OfProtocol(
        protocol=protocol,
        questions=len(whole),
        accuracy=_share(whole),
        statuses=Counter(row.status for row in rows),
        by_field={field: _share(scores([row for row in rows if row.field == field])) for field in fields},
        spending=_spending(rows),
        calibration=_calibration(rows),
        flips=_flips(rows),
        helped=_helped(rows, seed),
    )


def _share(found: Scores) -> Share:
    share = m.accuracy(found)
    if share is None:
        raise ValueError("no question was asked")
    return share


def _spending(rows: Sequence[Row]) -> Spending:
    answers = sum(row.answers for row in rows)
    costs = [row.usd for row in rows if row.status != "failed" or row.calls]
    usd = sum(cost or 0 for cost in costs) if None not in costs else None
    return Spending(
        prompt_tokens=sum(row.prompt_tokens for row in rows) / answers,
        completion_tokens=sum(row.completion_tokens for row in rows) / answers,
        calls=sum(row.calls for row in rows) / answers,
        seconds=sum(row.seconds for row in rows) / answers,
        usd=None if usd is None else usd / answers,
        tokens_total=sum(row.tokens for row in rows),
        usd_total=usd,
        estimated=sum(row.estimated for row in rows),
    )


def _calibration(rows: Sequence[Row]) -> Calibration:
    stated = [one for row in rows for one in row.stated]
    bins = m.reliability(stated)
    return Calibration(len(stated), m.brier(stated), m.calibration_error(bins), tuple(bins))


def _flips(rows: Sequence[Row]) -> Flips:
    made = [flip for row in rows for flip in row.flips]
    gained = Counter[str](flip.cause for flip in made if flip.after > flip.before)
    lost = Counter[str](flip.cause for flip in made if flip.after < flip.before)
    return Flips(gained, lost, len(made) - gained.total() - lost.total())


def _helped(rows: Sequence[Row], seed: int) -> Helped | None:
    opened = [row for row in rows if row.opening is not None]
    before, after = scores(opened, lambda row: row.opening or 0.0), scores(opened)
    gain = m.difference(before, after, seed)
    return Helped(_share(before), _share(after), gain) if gain else None


# --- at the same price ------------------------------------------------------------------------------------------------


def _at_equal_spend(
    rows: Sequence[Row], questions: Mapping[str, Question], protocols: Sequence[str], seed: int
) -> list[Compared]:
    """Each council against the vote over only so many answers of one model as cost what that council cost on that question."""
    votes = {(row.question, row.repeat): row for row in rows if row.protocol == CONSISTENCY}
    found = []
    for protocol in (one for one in protocols if one not in {SINGLE, CONSISTENCY}):
        pairs = [
            (votes[at], row) for row in rows if row.protocol == protocol and (at := (row.question, row.repeat)) in votes
        ]
        cut = [_cut(vote, row.tokens, questions[row.question]) for vote, row in pairs]
        if by := _difference(cut, [row for _, row in pairs], seed):
            found.append(Compared(CONSISTENCY, protocol, by))
    return found


def _cut(vote: Row, tokens: int, question: Question) -> Row:
    said = sampling.count(question, sampling.within(vote.samples, tokens)).said
    right = said is not None and question.right(said)
    return vote.model_copy(update={"score": float(right), "first": right})
