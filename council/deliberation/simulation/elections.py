"""Synthetic answers through the product's own candidates, texts, orders, ballots and count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from council.deliberation import ballots as b
from council.deliberation.consensus import elect
from council.deliberation.simulation.voters import RIGHT, WRONG, Voters, impressions, opening, perceived
from council.deliberation.types import Answer, Ballot, Candidate, Rule


def by_positions(voters: Voters, rule: Rule, seed: int, *, blind: bool = True) -> bool:
    """A closed question with two options, decided by the openings alone. Whether the right option wins."""
    said = opening(voters, WRONG[:1], Random(seed), blind=blind)  # noqa: S311  # a simulation, with a recorded seed
    answers = {f"s{i}": Answer(answer=text, option=text) for i, text in enumerate(said)}
    candidates = b.build_candidates((RIGHT, WRONG[0]), answers)
    return _right(candidates, elect(candidates, b.candidate_of(candidates), None, rule, seed, {}))


def by_ballots(
    voters: Voters,
    rules: Sequence[Rule],
    seed: int,
    *,
    options: bool = False,
    withhold_own: bool = True,
    own_order: bool = True,
) -> list[bool]:
    """A blind opening and a secret ballot. Whether the right answer wins, for each rule over the same ballots.

    ``options``: a closed question with one right option and four wrong ones; else the seats' answers stand on the ballot.
    ``withhold_own`` and ``own_order`` are what the product does; without them a seat's own text stays on its ballot, and all
    read the texts in one order.
    """
    rng = Random(seed)  # noqa: S311  # a simulation, with a recorded seed
    wording = (RIGHT, *WRONG) if options else ()
    said = opening(voters, WRONG, rng, blind=True)
    answers = {f"s{i}": Answer(answer=text, option=text if options else None) for i, text in enumerate(said)}
    candidates, texts = b.build_candidates(wording, answers), b.texts_for_ballot(wording, answers)
    own = b.own_texts(texts) if withhold_own else {}
    clusters = b.text_clusters(texts, candidates)
    orders = _orders(tuple(answers), [text.id for text in texts], seed, own, own_order=own_order)
    cast = {seat: _ballot(voters, answers[seat].answer, texts, orders[seat], rng) for seat in answers}
    counted = b.to_cluster_ballots(cast, clusters, b.own_clusters(own, clusters))
    held = b.candidate_of(candidates)
    return [_right(candidates, elect(candidates, held, counted, rule, seed, {})) for rule in rules]


def _orders(
    seats: Sequence[str], items: Sequence[str], seed: int, own: Mapping[str, set[str]], *, own_order: bool
) -> dict[str, tuple[str, ...]]:
    if own_order:
        return b.presentation_orders(seats, items, seed, own)
    (shared,) = b.presentation_orders(["everybody"], items, seed, {}).values()
    return {seat: tuple(item for item in shared if item not in own.get(seat, ())) for seat in seats}


def _ballot(voters: Voters, own: str, texts: Sequence[Candidate], order: Sequence[str], rng: Random) -> Ballot:
    """Everything shown is ranked, and scored from 0 to 10 around the middle between right and wrong."""
    said = {text.id: text.text for text in texts}
    look = impressions(voters, list(said.values()), rng)
    if not order:
        return Ballot(abstain=True)
    seen = perceived(voters, look, [said[item] for item in order], own)
    ranking = sorted(order, key=lambda item: -seen[said[item]])
    scores = {item: max(0, min(10, round(10 * seen[said[item]]))) for item in order}
    return Ballot(ranking=tuple(ranking), scores=scores)


def _right(candidates: Sequence[Candidate], winner: str | None) -> bool:
    return any(candidate.id == winner and candidate.text == RIGHT for candidate in candidates)
