"""What stands on a ballot, in which order a voter reads it, and what a cast ballot means for the count.

*Candidates* are what is counted: the options of a closed question, or clusters of equal answers of an open one. *Texts* are
what voters read. For a closed question the two are the same and nothing is withheld from anybody. For an open one:

- Answers that are the same after ``normalise`` are one text, held by several seats. Merging by meaning (``merging``) puts several
  texts into one cluster; voters still read and rank each text by itself.
- A text that only the voter itself holds is withheld from it, since it would be a vote for oneself. A text that others hold as
  well stays: the voter judges *their* answer. Without that, three seats with answer A would have to vote for the single B,
  and A, A, A, B would elect B.
- What was withheld is missing data, not a low rank: the ballot carries it as ``unseen`` and every rule treats the candidate as
  if that voter had not compared it with the others (``rules``). So a voter can neither help nor hurt its own answer, and
  nobody is punished for being alone with one.
- Ballots are mapped to clusters by the best-ranked text of each cluster, before anything is counted.

Ids ("t1", "a1", ..) follow the hash of the normalised text, so that an id tells nothing about seats.

Errors: ``BallotError(code, detail)``, codes ``unknown_candidate``, ``repeated_candidate``, ``bad_score``, ``empty``,
``abstained_and_voted``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count, islice
from math import factorial
from typing import Literal

from council.deliberation.types import Answer, Ballot, Candidate

BallotCode = Literal["unknown_candidate", "repeated_candidate", "bad_score", "empty", "abstained_and_voted"]


# Only what ends or joins sentences: "C#", "C++" and "100 %" must stay apart from "C" and "100".
SENTENCE_ENDS = " .,;:!?。、"


class BallotError(ValueError):
    """A ballot that cannot be counted as it stands; asking the voter again may help."""

    def __init__(self, code: BallotCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def normalise(text: str) -> str:
    """The form in which two answers are compared: NFKC, case folded, white space collapsed, no trailing punctuation."""
    folded = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
    return folded.rstrip(SENTENCE_ENDS) or folded


# --- candidates and texts ---------------------------------------------------------------------------------------------


def build_candidates(
    options: Sequence[str],
    answers: Mapping[str, Answer],
    earlier: Sequence[Candidate] = (),
    same: Callable[[str], str] = normalise,
) -> tuple[Candidate, ...]:
    """What is counted: one candidate per option in option order, or one per distinct open answer.

    ``answers`` maps seat ids to positions. An answer whose option is none of ``options`` holds no candidate. For open questions
    ``earlier`` are candidates that stood before in the same run: an answer that returns keeps its id, and no id is used twice.
    ``same`` gives answers that are one candidate one and the same key.
    """
    return _options(options, answers) if options else _distinct("a", answers, earlier, same)


def texts_for_ballot(options: Sequence[str], answers: Mapping[str, Answer]) -> tuple[Candidate, ...]:
    """What is read: the candidates of a closed question unchanged, or the individual texts "t1".. of an open one."""
    return _options(options, answers) if options else _distinct("t", answers, ())


def _options(options: Sequence[str], answers: Mapping[str, Answer]) -> tuple[Candidate, ...]:
    held = {seat: option_of(options, answer) for seat, answer in answers.items()}
    return tuple(
        Candidate(id=f"o{n}", text=option, option=option, seats=_holders(held, option))
        for n, option in enumerate(options, start=1)
    )


def option_of(options: Sequence[str], answer: Answer) -> str | None:
    """The option that an answer names, exactly or else after normalisation; None when it names none of them."""
    if answer.option is None or answer.option in options:
        return answer.option
    wanted = normalise(answer.option)
    return next((option for option in options if normalise(option) == wanted), None)


def _distinct(
    prefix: str,
    answers: Mapping[str, Answer],
    earlier: Sequence[Candidate],
    same: Callable[[str], str] = normalise,
) -> tuple[Candidate, ...]:
    keys: dict[str, str | None] = {seat: same(answer.answer) for seat, answer in answers.items()}
    ids = _ids(prefix, {same(answer.answer) for answer in answers.values()}, earlier, same)
    # The wording shown is the least in code point order: whose it is must not depend on who sits where.
    wording = {key: min(answers[seat].answer for seat in keys if keys[seat] == key) for key in ids}
    return tuple(Candidate(id=ids[key], text=wording[key], seats=_holders(keys, key)) for key in ids)


def _ids(
    prefix: str, keys: Collection[str], earlier: Sequence[Candidate], same: Callable[[str], str]
) -> dict[str, str]:
    """An id for each key, in order of the ids' numbers. Of earlier candidates that are one by now the first one's id stays."""
    numbers = sorted((int(candidate.id.removeprefix(prefix)), same(candidate.text)) for candidate in earlier)
    known = {key: f"{prefix}{n}" for n, key in reversed(numbers)}
    start = numbers[-1][0] if numbers else 0
    fresh = sorted(keys - known.keys(), key=_digest)
    kept = sorted(keys & known.keys(), key=lambda key: int(known[key].removeprefix(prefix)))
    return {key: known[key] for key in kept} | {key: f"{prefix}{start + n}" for n, key in enumerate(fresh, start=1)}


def _holders(held: Mapping[str, str | None], wanted: str) -> tuple[str, ...]:
    return tuple(sorted(seat for seat, key in held.items() if key == wanted))


def candidate_of(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Seat id to the id of the candidate it holds: the ``positions`` that ``consensus.tally`` takes."""
    return {seat: candidate.id for candidate in candidates for seat in candidate.seats}


def own_texts(texts: Iterable[Candidate]) -> dict[str, set[str]]:
    """Seat id to the texts withheld from it: those of open questions that it alone holds."""
    return {text.seats[0]: {text.id} for text in texts if text.option is None and len(text.seats) == 1}


def text_clusters(texts: Iterable[Candidate], candidates: Iterable[Candidate]) -> dict[str, str]:
    """Text id to the id of the candidate that it belongs to: the one that one of its seats holds, or the option itself."""
    held = candidate_of(candidates)
    return {text.id: text.id if text.option is not None else held[text.seats[0]] for text in texts}


def own_clusters(own: Mapping[str, set[str]], text_to_cluster: Mapping[str, str]) -> dict[str, set[str]]:
    """Seat id to the clusters of which it was shown no text, because all their texts are its own."""
    return {
        seat: {text_to_cluster[text] for text in texts}
        - {cluster for text, cluster in text_to_cluster.items() if text not in texts}
        for seat, texts in own.items()
    }


# --- order of presentation --------------------------------------------------------------------------------------------


def presentation_orders(
    voters: Sequence[str], items: Sequence[str], seed: int, own: Mapping[str, set[str]]
) -> dict[str, tuple[str, ...]]:
    """The order in which each voter reads ``items``, without those in ``own[voter]``. Decided by ``seed`` and the sorted order
    of voters and items alone.

    Rows are dealt from Latin squares (all rotations of a seeded base order, then those of another), so for n voters and m items

    - every item stands in every place equally often, give or take one, before own texts are taken out;
    - orders are distinct while n ≤ m!;
    - a voter from whom one item is withheld gets the row in which that item is last. Taking it out then moves no other
      item, and the balance of all places but the last survives; the last place only loses those that were taken out.

    Where two voters withhold the same item, or one withholds several, the rest of a row closes up and balance is approximate.
    """
    rows = list(islice(_rows(sorted(items), seed), max(len(voters), len(items))))
    square, spare = rows[: len(items)], rows[len(items) :]
    dealt: dict[str, tuple[str, ...]] = {}
    for voter in sorted(voters):
        row = next((row for row in square if row and own.get(voter) == {row[-1]}), None)
        if row is not None:
            square.remove(row)
            dealt[voter] = row
    remaining = iter(square + spare)
    for voter in sorted(set(voters) - dealt.keys()):
        dealt[voter] = next(remaining, ())
    return {v: tuple(item for item in dealt[v] if item not in own.get(v, ())) for v in sorted(voters)}


def _rows(items: Sequence[str], seed: int) -> Iterator[tuple[str, ...]]:
    """Endless rows, in blocks of m rotations of one base order; no base comes twice before all (m-1)! have come."""
    seen: set[tuple[str, ...]] = set()
    for attempt in count() if items else ():
        base = _seeded(items, f"{seed}:{attempt}")
        first = base.index(items[0])
        necklace = base[first:] + base[:first]
        if necklace in seen:
            continue
        yield from (base[turn:] + base[:turn] for turn in range(len(base)))
        seen.add(necklace)
        if len(seen) == factorial(len(items) - 1):
            seen.clear()


def _seeded(items: Iterable[str], seed: str) -> tuple[str, ...]:
    return tuple(sorted(items, key=lambda item: _digest(f"{seed}:{item}")))


def _digest(text: str) -> str:
    """Order by hash instead of ``random``: the same in every version of Python, which a recount years later relies on."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- ballots ----------------------------------------------------------------------------------------------------------


def check_ballot(ballot: Ballot, allowed_ids: Collection[str]) -> Ballot:
    """The ballot itself when every candidate it names is allowed, not withheld and ranked once, scores are 0 to 10, and it
    either ranks somebody or abstains. Raises ``BallotError`` otherwise; nothing is mended or dropped."""
    named = {*ballot.ranking, *ballot.scores}
    if unknown := sorted(named - (set(allowed_ids) - set(ballot.unseen))):
        raise BallotError("unknown_candidate", f"not on this ballot: {', '.join(unknown)}")
    if len(set(ballot.ranking)) < len(ballot.ranking):
        raise BallotError("repeated_candidate", "a candidate is ranked more than once")
    if wrong := sorted(candidate for candidate, score in ballot.scores.items() if not 0 <= score <= 10):
        raise BallotError("bad_score", f"scores run from 0 to 10: {', '.join(wrong)}")
    if ballot.abstain and named:
        raise BallotError("abstained_and_voted", "an abstention ranks and scores nobody")
    if not ballot.abstain and not ballot.ranking:
        raise BallotError("empty", "rank at least one candidate or abstain")
    return ballot


def to_cluster_ballots(
    ballots: Mapping[str, Ballot], text_to_cluster: Mapping[str, str], own_clusters: Mapping[str, set[str]]
) -> dict[str, Ballot]:
    """Ballots over texts as ballots over clusters: a cluster stands where its best-ranked text stands and has the score of its
    best-scored one; ``own_clusters[seat]`` becomes ``unseen``. Raises ``BallotError`` for a text without a cluster and for
    a vote for oneself."""
    return {
        seat: _to_clusters(ballot, text_to_cluster, own_clusters.get(seat, set())) for seat, ballot in ballots.items()
    }


def _to_clusters(ballot: Ballot, text_to_cluster: Mapping[str, str], own: set[str]) -> Ballot:
    check_ballot(ballot, text_to_cluster)
    scores: dict[str, int] = {}
    for text, score in ballot.scores.items():
        cluster = text_to_cluster[text]
        scores[cluster] = max(score, scores.get(cluster, 0))
    ranking = dict.fromkeys(text_to_cluster[text] for text in ballot.ranking)
    mapped = Ballot(ranking=tuple(ranking), scores=scores, abstain=ballot.abstain, unseen=tuple(sorted(own)))
    return check_ballot(mapped, set(text_to_cluster.values()))
