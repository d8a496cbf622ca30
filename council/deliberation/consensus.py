"""From positions and ballots to a decision: ``tally`` counts everything once, and counting again gives the same value.

``tally`` is pure, and independent of the names and the order of seats, so that a recount is a second call of it with
what the database holds. Rules are in ``rules``, ``rankedpairs``, ``runoff`` and ``grades``, the search for the margin in
``margin``, figures of agreement in ``agreement``.

Errors: ``ballots.BallotError`` for a ballot, ``ValueError`` for a position, that names a candidate which does not stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from statistics import median
from typing import NamedTuple

from council.deliberation import grades, margin, rules, runoff
from council.deliberation.agreement import kendall_w, modal_share
from council.deliberation.ballots import check_ballot
from council.deliberation.rules import Preference, Vector
from council.deliberation.types import Agreement, Ballot, Candidate, Rule, RuleResult, Tally

VERSION = 2
COUNTED: Mapping[int, tuple[Rule, ...]] = {
    1: (Rule.PLURALITY, Rule.MAJORITY, Rule.BORDA, Rule.SCHULZE),
    2: tuple(Rule),
}
SCORE_RULES = {
    Rule.SCORE: grades.score_winners,
    Rule.MEDIAN: grades.median_winners,
    Rule.APPROVAL: grades.approval_winners,
}
THOUSAND = 1000  # confidences are counted in thousandths, so that equal sums are equal
UNSTATED = 0.5  # the confidence of a seat that stated none, as in ``types.Answer``


def tally(
    candidates: Sequence[Candidate],
    positions: Mapping[str, str],
    ballots: Mapping[str, Ballot] | None,
    rule: Rule,
    seed: int,
    confidences: Mapping[str, float],
    version: int = VERSION,
) -> Tally:
    """Count by every rule and decide by one.

    ``positions`` maps seat ids to the candidate each holds; ``ballots`` maps seat ids to cast ballots, abstentions
    included, or is None in a round without ballots: then each position is counted as a ballot that names and approves it
    alone and scores it with ten times the seat's confidence. ``confidences`` (0 to 1) matter there and to the rule
    ``confidence_weighted``. ``version`` 1 counts by the four rules that there once were.

    Ties fall through: rule, Borda points, median score (a candidate that nobody scored is last), ``seed``. When nobody
    voted, or the rule elects nobody (no majority), there is no winner.
    """
    count = _Count(tuple(candidates), dict(positions), ballots, confidences, rule, seed)
    winner, decided_by = count.decision
    results = count.results(COUNTED[version])
    votes = count.votes
    distance = count.find_margin()
    return Tally(
        candidates=count.candidates,
        winner=winner,
        decided_by=decided_by,
        rules={name.value: result for name, result in results.items()},
        margin=distance,
        too_close=distance == 1 or decided_by == "seed" or _disagree(winner, results),
        agreement=_agreement(count.positions, ballots),
        voters=len(votes),
        abstentions=sum(vote.abstain for vote in votes.values()),
        version=version,
    )


def elect(
    candidates: Sequence[Candidate],
    positions: Mapping[str, str],
    ballots: Mapping[str, Ballot] | None,
    rule: Rule,
    seed: int,
    confidences: Mapping[str, float],
) -> str | None:
    """The winner alone, as ``tally`` finds it, without what takes the time: the other rules and the margin."""
    return _Count(tuple(candidates), dict(positions), ballots, confidences, rule, seed).decision[0]


def _disagree(winner: str | None, results: Mapping[Rule, RuleResult]) -> bool:
    """No candidate is among the winners of every rule that elects somebody; a decided winner must be that candidate."""
    elected = [set(result.winners) for result in results.values() if result.winners]
    if winner is not None:
        elected.append({winner})
    return bool(elected) and not set.intersection(*elected)


class _Parts(NamedTuple):
    """A count, or what one voter adds to it. Which parts a rule reads is what a margin replaces."""

    ranks: Vector  # ``rules.contribution``; for IRV followed by the kinds of ballots, packed
    marks: Vector  # ``grades.contribution``
    holds: Vector  # for each candidate the seats that hold it, then for each their confidence in thousandths


@dataclass(frozen=True)
class _Count:
    """One count under way. Candidates are handled by their index in ``ids``, which is sorted so that no result depends on
    the order in which they were handed in."""

    candidates: tuple[Candidate, ...]
    positions: dict[str, str]
    ballots: Mapping[str, Ballot] | None
    confidences: Mapping[str, float]
    rule: Rule
    seed: int

    def __post_init__(self) -> None:
        known = set(self.ids)
        if len(known) != len(self.ids):
            raise ValueError("candidate ids repeat")
        if strangers := sorted(set(self.positions.values()) - known):
            raise ValueError(f"positions name unknown candidates: {', '.join(strangers)}")
        for ballot in (self.ballots or {}).values():
            check_ballot(ballot, known)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(candidate.id for candidate in self.candidates))

    @cached_property
    def index(self) -> dict[str, int]:
        return {candidate: i for i, candidate in enumerate(self.ids)}

    @cached_property
    def votes(self) -> Mapping[str, Ballot]:
        """The ballots, or each position as a ballot that names one."""
        if self.ballots is not None:
            return self.ballots
        return {seat: Ballot(ranking=(held,)) for seat, held in self.positions.items()}

    @cached_property
    def m(self) -> int:
        return len(self.ids)

    @cached_property
    def everyone(self) -> tuple[int, ...]:
        return tuple(range(self.m))

    @cached_property
    def sheets(self) -> list[_Parts]:
        """What each seat contributes: ballots first, then positions, each seat's apart."""
        if self.ballots is None:
            return [self._position(self.index[held], self._weight(seat)) for seat, held in self.positions.items()]
        nothing = (0,) * (2 * self.m)
        cast = [_Parts(*self._ballot(ballot), nothing) for ballot in self.ballots.values()]
        empty = (0,) * self.ranks_length, (0,) * grades.count_length(self.m)
        held = [
            _Parts(*empty, self._hold(self.index[held], self._weight(seat))) for seat, held in self.positions.items()
        ]
        return cast + held

    def _ballot(self, ballot: Ballot) -> tuple[Vector, Vector]:
        preference = self._preference(ballot)
        scores = [(self.index[candidate], score) for candidate, score in ballot.scores.items()]
        marks = grades.marks(scores, preference.ranking, preference.shown)
        return self._ranks(preference), grades.contribution(marks, self.m)

    def _position(self, candidate: int, weight: int) -> _Parts:
        """A position where there are no ballots: it counts as one that names it alone."""
        grade = (10 * weight + THOUSAND // 2) // THOUSAND
        marks = grades.Marks(((candidate, grade),), (candidate,), self.everyone)
        return _Parts(
            self._ranks(Preference((candidate,), self.everyone)),
            grades.contribution(marks, self.m),
            self._hold(candidate, weight),
        )

    def _hold(self, candidate: int, weight: int) -> Vector:
        return tuple([int(c == candidate) for c in self.everyone] + [weight * (c == candidate) for c in self.everyone])

    def _weight(self, seat: str) -> int:
        return round(THOUSAND * self.confidences.get(seat, UNSTATED))

    def _preference(self, ballot: Ballot) -> Preference:
        shown = tuple(i for candidate, i in self.index.items() if candidate not in ballot.unseen)
        ranking = () if ballot.abstain else tuple(self.index[candidate] for candidate in ballot.ranking)
        return Preference(ranking, shown)

    def _ranks(self, preference: Preference) -> Vector:
        """IRV needs whole ballots: how many there are of each kind is one more number, ``BITS`` bits for each kind."""
        added = rules.contribution(preference, self.m)
        if self.rule is not Rule.IRV:
            return added
        return (*added, 1 << BITS * self.kinds.setdefault(preference, len(self.kinds)))

    @cached_property
    def kinds(self) -> dict[Preference, int]:
        return {}

    @cached_property
    def ranks_length(self) -> int:
        return rules.count_length(self.m) + (self.rule is Rule.IRV)

    @cached_property
    def lengths(self) -> tuple[int, int, int]:
        return self.ranks_length, grades.count_length(self.m), 2 * self.m

    @cached_property
    def total(self) -> _Parts:
        columns = list(zip(*self.sheets, strict=True)) or [(), (), ()]
        return _Parts(*(rules.total(c, n) for c, n in zip(columns, self.lengths, strict=True)))

    @cached_property
    def medians(self) -> list[float]:
        """Median score of each candidate, 0 to 10; -1 where nobody gave one."""
        if self.ballots is not None:
            return grades.given_medians(self.total.marks, self.m)
        scores: dict[str, list[float]] = {candidate: [] for candidate in self.ids}
        for seat, held in self.positions.items():
            scores[held].append(10 * self.confidences.get(seat, 0.0))
        return [float(median(given)) if given else -1.0 for given in scores.values()]

    @cached_property
    def lot(self) -> list[int]:
        """A rank for each candidate, drawn by hashing so that the draw is the same in every version of every language."""
        return [int(sha256(f"{self.seed}:{candidate}".encode()).hexdigest(), 16) for candidate in self.ids]

    # --- deciding -----------------------------------------------------------------------------------------------------

    def results(self, wanted: Sequence[Rule]) -> dict[Rule, RuleResult]:
        return {rule: self._result(rule) for rule in wanted}

    def _result(self, rule: Rule) -> RuleResult:
        scores = dict(zip(self.ids, map(float, self._scores(rule)), strict=True))
        return RuleResult(winners=tuple(self.ids[i] for i in self._winners(rule, self.total)), scores=scores)

    def _scores(self, rule: Rule) -> Sequence[float]:
        """What the page shows beside each candidate."""
        m, (ranks, marks, holds) = self.m, self.total
        match rule:
            case Rule.PLURALITY:
                return rules.firsts(ranks, m)
            case Rule.BORDA:
                return [points / rules.scale(m) for points in rules.borda(ranks, m)]
            case Rule.SCHULZE:
                return rules.path_wins(ranks, m)
            case Rule.RANKED_PAIRS:
                return rules.locked_below(ranks, m)
            case Rule.IRV:
                return self.runoff.outlasted
            case Rule.SCORE:
                return [points / (grades.unit(m) * max(1, marks[0])) for points in grades.sums(marks, m)]
            case Rule.MEDIAN:
                return [values[0] if values else 0 for values in grades.majority_values(marks, m)]
            case Rule.APPROVAL:
                return [points / grades.unit(m) for points in grades.approvals(marks, m)]
            case Rule.CONFIDENCE_WEIGHTED:
                return [weight / THOUSAND for weight in holds[m:]]
            case _:
                return holds[:m]

    @cached_property
    def runoff(self) -> runoff.Result:
        cast = self.votes.values()
        return runoff.count(Counter(self._preference(ballot) for ballot in cast), self.m)

    def _winners(self, rule: Rule, count: _Parts) -> list[int]:
        m = self.m
        if rule in rules.POSITION_RULES:
            return rules.POSITION_RULES[rule](count.holds[:m])
        if rule is Rule.CONFIDENCE_WEIGHTED:
            return rules.weighted_winners(count.holds[:m], count.holds[m:])
        if not count.ranks[0]:
            return []
        if rule in SCORE_RULES:
            return SCORE_RULES[rule](count.marks, m)
        if rule is not Rule.IRV:
            return rules.RANKING_RULES[rule](count.ranks, m)
        cast = self._unpacked(count.ranks) if self.rule is Rule.IRV else None
        return list((runoff.count(cast, m) if cast is not None else self.runoff).winners)

    def _unpacked(self, ranks: Vector) -> dict[Preference, int]:
        packed = ranks[-1]
        found = {kind: packed >> BITS * at & (1 << BITS) - 1 for kind, at in self.kinds.items()}
        return {kind: n for kind, n in found.items() if n}

    @cached_property
    def decision(self) -> tuple[str | None, str]:
        winners = self._winners(self.rule, self.total)
        if not winners:
            return None, ""
        winner, decided_by = self._break_tie(winners, self.total)
        return self.ids[winner], decided_by

    def _break_tie(self, tied: list[int], count: _Parts) -> tuple[int, str]:
        """The winner and what decided: the rule itself or the first tie-break that leaves one."""
        decided_by = self.rule.value
        if len(tied) > 1:
            tied, decided_by = rules.top(rules.borda(count.ranks, self.m), tied), "borda"
        if len(tied) > 1:
            tied, decided_by = rules.top(self._medians_of(count), tied), "median_score"
        if len(tied) > 1:
            tied, decided_by = rules.top(self.lot, tied), "seed"
        return tied[0], decided_by

    def _medians_of(self, count: _Parts) -> Sequence[float]:
        if self.ballots is None or count.marks == self.total.marks:
            return self.medians
        return grades.given_medians(count.marks, self.m)

    # --- margin -------------------------------------------------------------------------------------------------------

    def find_margin(self) -> int | None:
        """Fewest ballots whose replacement changes the winner, up to 2. Where positions are what is counted (rules that read
        them, and rounds without ballots) a replacement is a change of position. What a seat's confidence says stays."""
        if self.ballots is None:
            units = self._position_units()
            return margin.search(units, lambda v: self._elect(self._split(v)), sum(self.lengths))
        if self.rule in rules.POSITION_RULES or self.rule is Rule.CONFIDENCE_WEIGHTED:
            units = self._hold_units()
            return margin.search(units, lambda v: self._elect(self.total._replace(holds=v)), self.lengths[2])
        if self.rule in SCORE_RULES:
            units = self._mark_units()
            return margin.search(units, lambda v: self._elect(self.total._replace(marks=v)), self.lengths[1])
        units = self._ranking_units()
        return margin.search(
            units, lambda v: self._elect(self.total._replace(ranks=v)), self.lengths[0], self._could_change
        )

    def _split(self, flat: Vector) -> _Parts:
        first, second, _ = self.lengths
        return _Parts(flat[:first], flat[first : first + second], flat[first + second :])

    def _elect(self, count: _Parts) -> int | None:
        winners = self._winners(self.rule, count)
        return self._break_tie(winners, count)[0] if winners else None

    def _could_change(self, rest: Vector, wild: int) -> bool:
        """Whether anybody but the winner could win with ``wild`` more ballots."""
        winner = self.decision[0]
        if winner is None:
            return True
        if self.rule is Rule.IRV:
            return bool(runoff.reachable(self._unpacked(rest), self.m, wild) & ~(1 << self.index[winner]))
        return bool(rules.reachable(self.rule, rest, self.m, wild) - {self.index[winner]})

    def _position_units(self) -> list[margin.Unit]:
        weights = {seat: self._weight(seat) for seat in self.positions}
        flat = {w: tuple(_flat(self._position(c, w)) for c in self.everyone) for w in set(weights.values())}
        return [
            (flat[weights[seat]][self.index[held]], margin.Alternatives(flat[weights[seat]]))
            for seat, held in self.positions.items()
        ]

    def _hold_units(self) -> list[margin.Unit]:
        weights = {seat: self._weight(seat) for seat in self.positions}
        plain = self.rule in rules.POSITION_RULES
        holds = {w: tuple(self._hold(c, 0 if plain else w) for c in self.everyone) for w in set(weights.values())}
        return [
            (holds[weights[seat]][self.index[held]], margin.Alternatives(holds[weights[seat]]))
            for seat, held in self.positions.items()
        ]

    def _mark_units(self) -> list[margin.Unit]:
        m = self.m
        shown = [self._preference(ballot).shown for ballot in self.votes.values()]
        found = {
            one: margin.Alternatives(
                tuple(grades.contribution(grades.marks(s, (), one), m) for s in margin.scores(one, m))
            )
            for one in set(shown)
        }
        cast = (self._ballot(ballot)[1] for ballot in self.votes.values())
        return [(marks, found[one]) for marks, one in zip(cast, shown, strict=True)]

    def _ranking_units(self) -> list[margin.Unit]:
        points = rules.borda(self.total.ranks, self.m)
        first = self.decision[0]
        standing = sorted(self.everyone, key=lambda i: (self.ids[i] != first, -points[i], self.lot[i]))
        preferences = [self._preference(ballot) for ballot in self.votes.values()]
        cast = sorted({p.ranking for p in preferences})
        found = {}
        for shown in sorted({p.shown for p in preferences}):
            tried = margin.orders(shown, standing, cast)
            found[shown] = margin.Alternatives(
                *(tuple(self._ranks(Preference(order, shown)) for order in part) for part in tried)
            )
        return [(self._ranks(p), found[p.shown]) for p in preferences]


BITS = 8  # for the number of ballots of one kind: up to 255 voters


def _flat(parts: _Parts) -> Vector:
    return parts.ranks + parts.marks + parts.holds


def _agreement(positions: Mapping[str, str], ballots: Mapping[str, Ballot] | None) -> Agreement:
    return Agreement(
        modal_share=modal_share(positions),
        positions={seat: positions[seat] for seat in sorted(positions)},
        kendall_w=kendall_w(ballots) if ballots else None,
    )
