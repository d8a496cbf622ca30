"""Open answers that say the same in other words: which of them are counted as one, decided once and kept as data.

Whether two texts mean the same is asked of an embedding model, and a model's opinion is not for ever: ``Merging`` records what it
said and what came of it, counting goes by the record alone, and a user can undo it.

Similarity alone cannot do it. "Vaccinate before the rainy season" and "after the rainy season" are .98 alike, and of answers written to
contradict each other more than a third lie above any threshold that still joins paraphrases (docs/protocols.md, "Merging").
So the words have a veto (``kept_apart``): texts stay apart when their figures differ, when one denies and the other does not,
when each has a content word that the other lacks (the one may have been put in the other's place: oaks for limes), and when the
same words come in another order (who does what to whom may have been turned round; a passive, which moves one word, passes).
Wrong merges put words into a seat's mouth, missed ones only split its support. For the same reason a text joins a group only if
it is like every text of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import combinations

from council.deliberation.ballots import normalise
from council.deliberation.citations import content_words, figures, strip_marks, words
from council.deliberation.types import Likeness, Merging

NEAR = 0.15  # pairs this far below the threshold are recorded too, so that a reader sees what was nearly merged
UNDONE = "undone"

_DENIAL = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|without|cannot|against|un\w{4,}|before|until|"
    r"nicht|kein\w*|nie|niemals|ohne|gegen|weder|ne|pas|jamais|sans|sin|nunca|ninguna?)\b|n['’]t\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|hundred|half|third|quarter|double|twice|only|alone|most|few)\b",
    re.IGNORECASE,
)
_COMPARING = re.compile(r"\b(?:more|less|fewer|than|rather|over|instead|prefer\w*|better|worse)\b", re.IGNORECASE)
# What answers are made with and are not about; a word of these on one side only says nothing.
_FRAME = frozenset(
    content_words(
        "should must ought can will do does use adopt make start begin give let need right also thing this that it its the an as "
        "pick choose become turn write whole full each every away one due because since"
    )
)
_ALIKE = 5  # letters that two forms of a word share at their beginning (south, southern)


def key(text: str) -> str:
    """A short name of an answer's text, the same in every round: 12 hex digits of the SHA-256 of its normalised form."""
    return sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def kept_apart(first: str, second: str) -> str:
    """Why two texts are not merged however alike they are: ``figures``, ``polarity``, ``words``, ``order``, or "" when nothing
    speaks against it."""
    one, other = strip_marks(first), strip_marks(second)
    if figures(one) != figures(other) or _amounts(one) != _amounts(other):
        return "figures"
    if len(_DENIAL.findall(one)) % 2 != len(_DENIAL.findall(other)) % 2:
        return "polarity"
    left, right = _subjects(one), _subjects(other)
    if any(_missing(word, right) for word in left) and any(_missing(word, left) for word in right):
        return "words"
    may_move = 0 if _COMPARING.search(one) and _COMPARING.search(other) else 1
    return "order" if _moved(left, right) > may_move else ""


def _amounts(text: str) -> list[str]:
    return sorted(word.casefold() for word in _AMOUNT.findall(text))


def _subjects(text: str) -> list[str]:
    """Content words in order, each once. A name keeps its place even where it is a common word too ("May", "Go")."""
    names = {found.casefold() for found in re.findall(r"(?<=[a-z,;] )[A-Z]\w+", text)}
    found = (word if word in names else next(iter(content_words(word)), "") for word in words(text))
    return [word for word in dict.fromkeys(found) if word in names or (word and word not in _FRAME)]


def _missing(word: str, among: Sequence[str]) -> bool:
    return not any(word == other or (len(word) >= _ALIKE and word[:_ALIKE] == other[:_ALIKE]) for other in among)


def _moved(left: Sequence[str], right: Sequence[str]) -> int:
    """How many of the shared words must be moved for both to have them in one order: a passive moves its verb, and whoever turns a
    sentence round moves more."""
    place = {word: n for n, word in enumerate(right)}
    order = [place[word] for word in left if word in place]
    best: list[int] = []  # longest increasing subsequences that end here
    for n, at in enumerate(order):
        best.append(1 + max((best[m] for m in range(n) if order[m] < at), default=0))
    return len(order) - max(best, default=0)


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """One wording of each normalised text, in the order of their keys."""
    by_key = {key(text): text for text in sorted(texts, reverse=True)}
    return tuple(by_key[one] for one in sorted(by_key))


def compare(
    texts: Sequence[str],
    scores: Mapping[tuple[int, int], float],
    *,
    model: str,
    threshold: float,
    undone: Collection[tuple[str, str]] = (),
) -> Merging:
    """Decide which of ``distinct`` texts are one. ``scores[i, j]``, i < j, is the cosine similarity of texts i and j. Pairs in
    ``undone`` (of keys) stay apart: a user has said so."""
    keys = [key(text) for text in texts]
    reasons = {
        pair: UNDONE if (keys[pair[0]], keys[pair[1]]) in undone else kept_apart(texts[pair[0]], texts[pair[1]])
        for pair, score in scores.items()
        if score >= threshold
    }
    group = _groups(len(texts), scores, {pair for pair, reason in reasons.items() if not reason})
    pairs = [
        Likeness(
            first=keys[pair[0]],
            second=keys[pair[1]],
            score=round(score, 4),
            merged=pair in reasons and not reasons[pair] and group[pair[0]] == group[pair[1]],
            reason=reasons.get(pair, ""),
        )
        for pair, score in sorted(scores.items())
        if score >= threshold - NEAR
    ]
    return Merging(model=model, threshold=threshold, pairs=tuple(pairs))


def _groups(n: int, scores: Mapping[tuple[int, int], float], alike: Collection[tuple[int, int]]) -> list[int]:
    """Complete linkage: the likest pairs first, and two groups become one only if every pair across them is alike."""
    group = list(range(n))
    for first, second in sorted(alike, key=lambda pair: (-scores[pair], pair)):
        here = [i for i in range(n) if group[i] == group[first]]
        there = [i for i in range(n) if group[i] == group[second]]
        if group[first] != group[second] and all((min(a, b), max(a, b)) in alike for a in here for b in there):
            group = [group[first] if one == group[second] else one for one in group]
    return group


def representatives(merging: Merging | None) -> dict[str, str]:
    """``key`` of each merged text to the least key of its group; texts that stand alone are left out."""
    leader: dict[str, str] = {}
    for pair in merging.pairs if merging else ():
        if pair.merged:
            one, other = leader.get(pair.first, pair.first), leader.get(pair.second, pair.second)
            least = min(one, other)
            for text in {pair.first, pair.second, *(text for text, at in leader.items() if at in {one, other})}:
                leader[text] = least
    return leader


def undo(merging: Merging, group: Collection[str]) -> Merging:
    """The same with every merge inside ``group`` (of keys) undone. What was undone is told from what was never merged."""
    pairs = tuple(
        pair.model_copy(update={"merged": False, "reason": UNDONE})
        if pair.merged and {pair.first, pair.second} <= set(group)
        else pair
        for pair in merging.pairs
    )
    return merging.model_copy(update={"pairs": pairs})


def undone(mergings: Iterable[Merging | None]) -> set[tuple[str, str]]:
    """Pairs of keys that a user has taken apart."""
    return {(p.first, p.second) for one in mergings if one for p in one.pairs if p.reason == UNDONE}


def every_pair(n: int) -> list[tuple[int, int]]:
    return list(combinations(range(n), 2))
