"""From positions and ballots to a decision: ``tally`` counts everything once, and counting again gives the same value.

``tally`` is pure, and independent of the names and the order of seats, so that a recount is a second call of it with
what the database holds. Rules are in ``rules``, the search for the margin in ``margin``.

Errors: ``ballots.BallotError`` for a ballot, ``ValueError`` for a position, that names a candidate which does not stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from statistics import median

from council.deliberation import margin, rules
from council.deliberation.ballots import check_ballot
from council.deliberation.rules import Preference, Vector
from council.deliberation.types import Agreement, Ballot, Candidate, Rule, RuleResult, Tally


def tally(
    candidates: Sequence[Candidate],
    positions: Mapping[str, str],
    ballots: Mapping[str, Ballot] | None,
    rule: Rule,
    seed: int,
    confidences: Mapping[str, float],
) -> Tally:
    """Count by every rule and decide by one.

    ``positions`` maps seat ids to the candidate each holds; ``ballots`` maps seat ids to cast ballots, abstentions
    included, or is None in a round without ballots: then each position is counted as a ballot that names it alone.
    ``confidences`` (0 to 1) matter in that case only: a seat's score of its own position is ten times its confidence.

    Ties fall through: rule, Borda points, median score (a candidate that nobody scored is last), ``seed``. When nobody
    voted, or the rule elects nobody (no majority), there is no winner.
    """
    count = _Count(tuple(candidates), dict(positions), ballots, confidences, rule, seed)
    winner, decided_by = count.decision
    results = count.results
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
    )


def _disagree(winner: str | None, results: Mapping[Rule, RuleResult]) -> bool:
    """No candidate is among the winners of every rule that elects somebody; a decided winner must be that candidate."""
    elected = [set(result.winners) for result in results.values() if result.winners]
    if winner is not None:
        elected.append({winner})
    return bool(elected) and not set.intersection(*elected)


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
    def preferences(self) -> list[Preference]:
        return [self._preference(ballot) for ballot in self.votes.values()]

    def _preference(self, ballot: Ballot) -> Preference:
        shown = tuple(i for candidate, i in self.index.items() if candidate not in ballot.unseen)
        ranking = () if ballot.abstain else tuple(self.index[candidate] for candidate in ballot.ranking)
        return Preference(ranking, shown)

    @cached_property
    def holders(self) -> Vector:
        held = Counter(self.positions.values())
        return tuple(held[candidate] for candidate in self.ids)

    @cached_property
    def total(self) -> Vector:
        m = len(self.ids)
        return rules.total((rules.contribution(p, m) for p in self.preferences), rules.count_length(m))

    @cached_property
    def medians(self) -> list[float]:
        """Median score of each candidate, 0 to 10; -1 where nobody gave one."""
        scores: dict[str, list[float]] = {candidate: [] for candidate in self.ids}
        if self.ballots is None:
            for seat, held in self.positions.items():
                scores[held].append(10 * self.confidences.get(seat, 0.0))
        else:
            for candidate, score in _scores(self.ballots):
                scores[candidate].append(score)
        return [float(median(given)) if given else -1.0 for given in scores.values()]

    @cached_property
    def lot(self) -> list[int]:
        """A rank for each candidate, drawn by hashing so that the draw is the same in every version of every language."""
        return [int(sha256(f"{self.seed}:{candidate}".encode()).hexdigest(), 16) for candidate in self.ids]

    # --- deciding -----------------------------------------------------------------------------------------------------

    @cached_property
    def results(self) -> dict[Rule, RuleResult]:
        m, count = len(self.ids), self.total
        points = [value / rules.scale(m) for value in rules.borda(count, m)]
        scores: dict[Rule, Sequence[float]] = {
            Rule.PLURALITY: rules.firsts(count, m),
            Rule.MAJORITY: self.holders,
            Rule.BORDA: points,
            Rule.SCHULZE: rules.path_wins(count, m),
        }
        return {name: self._result(self._winners(name, count), values) for name, values in scores.items()}

    def _result(self, winners: Sequence[int], scores: Sequence[float]) -> RuleResult:
        by_id = dict(zip(self.ids, map(float, scores), strict=True))
        return RuleResult(winners=tuple(self.ids[i] for i in winners), scores=by_id)

    def _winners(self, rule: Rule, count: Vector) -> list[int]:
        if rule is Rule.MAJORITY:
            return rules.majority_winners(self.holders)
        return rules.BALLOT_RULES[rule](count, len(self.ids))

    @cached_property
    def decision(self) -> tuple[str | None, str]:
        winners = self._winners(self.rule, self.total)
        if not winners:
            return None, ""
        winner, decided_by = self._break_tie(winners, self.total)
        return self.ids[winner], decided_by

    def _break_tie(self, tied: list[int], count: Vector) -> tuple[int, str]:
        """The winner and what decided: the rule itself or the first tie-break that leaves one."""
        steps = (
            (rules.borda(count, len(self.ids)), "borda"),
            (self.medians, "median_score"),
            (self.lot, "seed"),
        )
        decided_by = self.rule.value
        for scores, name in steps:
            if len(tied) == 1:
                break
            tied, decided_by = rules.top(scores, tied), name
        return tied[0], decided_by

    # --- margin -------------------------------------------------------------------------------------------------------

    def find_margin(self) -> int | None:
        """Fewest ballots whose replacement changes the winner, up to 2. Where positions are what is counted (the majority
        rule, and rounds without ballots) a replacement is a change of position."""
        m = len(self.ids)
        if self.rule is Rule.MAJORITY:
            return margin.search(self._position_units(), _elect_majority, m)
        if self.ballots is None:
            alone = tuple(rules.contribution(Preference((i,), tuple(range(m))), m) for i in range(m))
            units = [(alone[self.index[held]], alone) for held in self.positions.values()]
        else:
            units = self._ballot_units()
        safe = rules.safe_replacements(self.rule, self.total, m)
        return margin.search(units, self._elect, rules.count_length(m), safe)

    def _elect(self, count: Vector) -> int | None:
        winners = self._winners(self.rule, count)
        return self._break_tie(winners, count)[0] if winners else None

    def _position_units(self) -> list[tuple[Vector, margin.Alternatives]]:
        m = len(self.ids)
        holding = tuple(tuple(int(i == j) for j in range(m)) for i in range(m))
        return [(holding[self.index[held]], holding) for held in self.positions.values()]

    def _ballot_units(self) -> list[tuple[Vector, margin.Alternatives]]:
        m = len(self.ids)
        points = rules.borda(self.total, m)
        first = self.decision[0]
        standing = sorted(range(m), key=lambda i: (self.ids[i] != first, -points[i], self.lot[i]))
        cast = sorted({p.ranking for p in self.preferences})
        alternatives = {
            shown: tuple(rules.contribution(Preference(o, shown), m) for o in margin.orders(shown, standing, cast))
            for shown in sorted({p.shown for p in self.preferences})
        }
        return [(rules.contribution(p, m), alternatives[p.shown]) for p in self.preferences]


def _elect_majority(holders: Vector) -> int | None:
    winners = rules.majority_winners(holders)
    return winners[0] if winners else None


def _scores(ballots: Mapping[str, Ballot]) -> list[tuple[str, int]]:
    return [item for ballot in ballots.values() if not ballot.abstain for item in ballot.scores.items()]


# --- agreement --------------------------------------------------------------------------------------------------------


def _agreement(positions: Mapping[str, str], ballots: Mapping[str, Ballot] | None) -> Agreement:
    return Agreement(
        modal_share=modal_share(positions),
        positions={seat: positions[seat] for seat in sorted(positions)},
        kendall_w=kendall_w(ballots) if ballots else None,
    )


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
