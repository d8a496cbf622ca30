"""Citation marks in written text, and whether the cited passage bears them out.

What the check proves. ``verified`` means two things: the passage that the seat was shown stands, character for character, at
its place in that revision; and the statement before the mark says it in (nearly) the passage's own words, or means nearly the
same as one of its sentences (``SIMILAR``), with no figure and no long quotation that the passage lacks. It does *not* prove that
the statement follows: a dropped "not", a swapped subject or a wrong conclusion drawn in the passage's words passes. A true
statement in entirely different words is mostly reported ``unsupported``. Read ``verified`` as "the source says these words, or
nearly", never as "this is true". Figures: docs/evidence.md.

Quotes and words come first and need nothing but the texts. What they leave open (``doubts``) a caller may compare by meaning with
an embedding model; the scores are kept with the checks, so that checking again (``similarities``) asks no model.

The measure of words is containment (Broder 1997, "On the resemblance and containment of documents", section 2) over sets of stemmed
content words instead of shingles: \\|statement and sentence\\| / \\|statement\\|, dimensionless, in 0..1.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from council.deliberation.types import Evidence
from council.deliberation.values import Frozen

# Measured on the demo packs: of 4,648 sentences set against a wrong passage of their own pack 9 reach 0.5 (39 reach 0.4, 2 reach
# 0.6); of 581 sentences with half their words dropped, others added and all shuffled, 87 % are still recognised.
OVERLAP = 0.5
SHARED = 3  # content words that must be shared at least, so that a three-word remark cannot pass on chance
SIMILAR = 0.75  # cosine of the statement and the passage's nearest sentence (docs/evidence.md; tests/council/evidence/pairs.py)
RUN = 4  # consecutive content words taken over from the passage
QUOTED = 3  # words from which a quoted string counts as a quotation when it is found ...
LONG_QUOTED = 5  # ... and from which it counts as an invention when it is not (shorter ones may be scare quotes)
LONGEST_RANGE = 20  # [1-300] is not twenty dozen citations

_NUMBER = r"[1-9]\d{0,2}"
_BRACKETS = rf"[\[【]\s*{_NUMBER}(?:\s*[,;–-]\s*{_NUMBER})*\s*[\]】]"
_GROUP = rf"{_BRACKETS}(?!\()"
_MARK = re.compile(_GROUP)
_MARK_AND_GAP = re.compile(rf"(?<!\s)\s*{_GROUP}")
_BRACKETED = re.compile(_BRACKETS)
_PART = re.compile(rf"({_NUMBER})(?:\s*[–-]\s*({_NUMBER}))?")
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\d+(?:[.,]\d+)*|(?:(?![\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])[^\W\d_])+"
)
_UNSEEN = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphens and their kin split words only on the screen
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTATION = re.compile(r"“([^“”]+)”|\"([^\"]+)\"|«([^«»]+)»|「([^「」]+)」")
_ELLIPSIS = re.compile(r"…|\.\.\.|\[…\]")
_SUFFIX = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|ly|e)$")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|dr|mr|mrs|ms|prof|approx|fig|al|inc|ltd)|\b[A-Za-z]|(?:\A|\n)\s*\d{1,3})\.$",
    re.IGNORECASE,
)
_LIST_NUMBER = re.compile(r"^\s{0,99}\d{1,3}[.)]\s+", re.MULTILINE)
# Here and elsewhere a look behind lets a run of stops or blanks be tried from its beginning alone: from each of its characters takes
# quadratic time (tests/security/test_regexes.py).
# A sentence ends at its full stop with the marks that trail it, at a paragraph or before a list item; not at a wrapped line.
_BOUNDARY = re.compile(
    rf"(?<![.!?…])[.!?…]+[\"'”’»)]*(?:\s*{_GROUP})*(?=\s+[^\sa-z]|\s*$)"
    rf"|(?<![.!?…])[.!?…]+[\"'”’»)]*(?=\s)"
    r"|[。！？]+[”’」』）]*"
    r"|\n(?=[^\S\n]*(?:\n|[-*+•]\s|\d+[.)]\s|\#|\||>))"
    r"|(?<=\n)\#{1,6}[^\n]*(?=\n)|\A\#{1,6}[^\n]*(?=\n)"
)
_STOP = frozenset(
    word
    for line in (
        "a an and any are as at be been but by can could did do does for from had has have he her his how i if in into is it its",
        "may me more most my no nor not of on or our out over she should so some such than that the their them then there these",
        "they this those to under up was we were what when where which while who why will with would you your",
    )
    for word in line.split()
)


class Span(NamedTuple):
    """Half-open character offsets."""

    start: int
    end: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


class Mark(NamedTuple):
    """One bracketed group: ``[2]``, ``[1, 3]``, ``[1-3]`` or ``【2】``; never a Markdown link, never an interval with zero."""

    numbers: tuple[int, ...]
    span: Span


class CitationCheck(Frozen):
    """One number of one mark. ``at`` is the mark's offset in the checked text; ``start``/``end`` are absolute character offsets
    of ``quote`` in the revision's content. A ``missing`` number names nothing the seat was shown: ids and quote are empty."""

    n: int
    at: int
    revision: str = ""
    entry: str = ""
    passage: str | None = None
    start: int = 0
    end: int = 0
    quote: str = ""
    quote_sha256: str = hashlib.sha256(b"").hexdigest()
    status: Literal["verified", "unsupported", "missing"]
    reason: str
    similarity: float | None = (
        None  # of statement and passage, where their words did not settle it and a model was asked
    )
    snapshot: str | None = None
    snapshot_label: str = ""


class Support(NamedTuple):
    """Whether a passage bears a statement out, why, and where its best sentence stands within the passage. ``open``: only its
    words speak against it, so it may still mean the same."""

    holds: bool
    reason: str
    best: Span
    open: bool = False


class Doubt(NamedTuple):
    """A citation that words did not settle: to be compared by meaning with each of the passage's ``sentences``."""

    at: int
    n: int
    revision: str
    statement: str
    sentences: tuple[str, ...]


Scores = Mapping[tuple[int, int], float]  # (at, n) of a check to the cosine of its statement and the nearest sentence


class Renumbered(NamedTuple):
    texts: tuple[str, ...]
    citations: tuple[CitationCheck, ...]  # one for each new number, 1 first; ``at`` is its first use in its text


# --- marks ------------------------------------------------------------------------------------------------------------


def marks(text: str) -> tuple[Mark, ...]:
    """All citation marks of ``text`` in order."""
    return tuple(Mark(_expand(found.group()), Span(*found.span())) for found in _MARK.finditer(text))


def numbers(text: str) -> tuple[int, ...]:
    """The distinct numbers that ``text`` cites, in order of first use."""
    return tuple(dict.fromkeys(n for mark in marks(text) for n in mark.numbers))


def strip_marks(text: str) -> str:
    """``text`` without its marks: another seat's numbers point into another seat's evidence."""
    return _MARK_AND_GAP.sub("", text).strip()


def round_marks(text: str) -> str:
    """``text`` with its marks in round brackets: what a passage cites must not pass for a citation when somebody quotes it. Numbers
    that open a Markdown link too, for a quotation may end before the link does."""
    return _BRACKETED.sub(lambda found: f"({found.group()[1:-1]})", text)


def _expand(group: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in _PART.finditer(group):
        first, last = int(part[1]), int(part[2] or part[1])
        found += range(first, last + 1) if 0 <= last - first <= LONGEST_RANGE else (first, last)
    return tuple(dict.fromkeys(found))


# --- words and sentences ----------------------------------------------------------------------------------------------


def sentences(text: str) -> tuple[Span, ...]:
    """Sentence spans, trimmed of white space, in order. Trailing marks belong to the sentence before them."""
    spans, start = [], 0
    for found in _BOUNDARY.finditer(text):
        if not _ends(text, found):
            continue
        spans.append(_trim(text, start, found.end()))
        start = found.end()
    spans.append(_trim(text, start, len(text)))
    return tuple(span for span in spans if span.start < span.end)


def _ends(text: str, found: re.Match[str]) -> bool:
    if found.group()[0] not in ".!?…":
        return True
    if text[found.end() :].lstrip()[:1].islower():
        return False
    return found.group() != "." or not _ABBREVIATION.search(text[max(0, found.start() - 8) : found.end()])


def _trim(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    lead = len(piece) - len(piece.lstrip())
    return Span(start + lead, start + lead + len(piece.strip()))


def words(text: str) -> tuple[str, ...]:
    """Case-folded words and figures in order; Chinese, Japanese and Korean by character, for they leave no spaces."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).casefold()))


def content_words(text: str) -> tuple[str, ...]:
    """Words that carry meaning, lightly stemmed so that "hired" meets "hire"; order and repetition kept."""
    return tuple(_SUFFIX.sub("", word) for word in words(text) if word not in _STOP)


def figures(text: str) -> frozenset[str]:
    """Numbers in digits, in one notation: "71,000" is "71000" and "2,3" is "2.3"."""
    return frozenset(_figure(found) for found in _FIGURE.findall(unicodedata.normalize("NFKC", text)))


def _figure(digits: str) -> str:
    return re.sub(r",(?=\d{3}(?:\D|$))", "", digits).replace(",", ".")


def overlap(statement: str, source: str) -> float:
    """Share of the statement's content words that the source has, 0..1 (0 for an empty statement)."""
    said = set(content_words(statement))
    return len(said & set(content_words(source))) / len(said) if said else 0.0


def quotations(text: str) -> tuple[str, ...]:
    return tuple(part for groups in _QUOTATION.findall(text) for part in groups if part)


# --- support ----------------------------------------------------------------------------------------------------------


def support(statement: str, passage: str, given: str = "") -> Support:
    """Does ``passage`` say what ``statement`` says? ``given`` is text whose figures are nobody's claim (question, options)."""
    said = _LIST_NUMBER.sub("", strip_marks(statement))
    best = best_sentence(said, passage)
    invented = [quote for quote in quotations(said) if _fragments(quote, LONG_QUOTED) and not _quotes(quote, passage)]
    if invented:
        return Support(False, "the quotation does not stand in the passage", best)
    foreign = sorted(figures(said) - figures(passage) - figures(given))
    if foreign:
        return Support(False, f"the passage does not give the figure {foreign[0]}", best)
    return _in_its_words(said, passage, best)


def _in_its_words(said: str, passage: str, best: Span) -> Support:
    if any(_fragments(quote, QUOTED) and _quotes(quote, passage) for quote in quotations(said)):
        return Support(True, "quoted verbatim", best)
    source = best.of(passage)
    run = longest_run(content_words(said), content_words(source))
    if run >= RUN:
        return Support(True, f"{run} content words in a row", best)
    shared = len(set(content_words(said)) & set(content_words(source)))
    share = overlap(said, source)
    holds = share >= OVERLAP and shared >= SHARED
    reason = f"{share:.0%} of the content words in one sentence of the passage ({shared})"
    return Support(holds, reason, best, open=not holds)


def best_sentence(statement: str, passage: str) -> Span:
    """The passage's sentence nearest to the statement: longest common run first, then overlap, then the earlier one."""
    said = content_words(statement)
    spans = sentences(passage) or (Span(0, len(passage)),)

    def nearness(span: Span) -> tuple[int, float]:
        source = span.of(passage)
        run = longest_run(said, content_words(source))
        return (run if run >= RUN else 0, overlap(statement, source))

    return max(spans, key=nearness)  # max keeps the first of equals


def longest_run(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common contiguous run; dynamic programming, O(len(left) * len(right))."""
    best, row = 0, [0] * (len(right) + 1)
    for word in left:
        row = [0] + [row[i] + 1 if word == other else 0 for i, other in enumerate(right)]
        best = max(best, *row)
    return best


def _fragments(quote: str, at_least: int) -> list[tuple[str, ...]]:
    """The stretches between ellipses, if together they are long enough to count."""
    parts = [words(part) for part in _ELLIPSIS.split(quote)]
    return [part for part in parts if part] if sum(map(len, parts)) >= at_least else []


def _quotes(quote: str, passage: str) -> bool:
    """Compared by words, so that white space, case, dashes and the final full stop do not matter."""
    source = words(passage)
    return all(_contains(source, part) for part in _fragments(quote, 1))


def _contains(source: Sequence[str], part: Sequence[str]) -> bool:
    size = len(part)
    return any(tuple(source[i : i + size]) == tuple(part) for i in range(len(source) - size + 1))


# --- checking ---------------------------------------------------------------------------------------------------------


def check(
    text: str,
    evidence: Sequence[Evidence],
    revision_text: Callable[[str], str | None],
    given: str = "",
    scores: Scores | None = None,
) -> tuple[CitationCheck, ...]:
    """Check every number of every mark in ``text``, in order, against what its writer was shown.

    ``revision_text`` gives a revision's content by id, None when it is gone. ``given``: see :func:`support`. ``scores`` are
    similarities of those that words leave open; they settle nothing else.
    """
    return tuple(
        _by_meaning(one.check, scores.get((one.check.at, one.check.n)) if scores and one.open else None)
        for one in _judged(text, evidence, revision_text, given)
    )


def doubts(
    text: str, evidence: Sequence[Evidence], revision_text: Callable[[str], str | None], given: str = ""
) -> tuple[Doubt, ...]:
    """Those of a text's citations that words leave open and a comparison by meaning could settle. Arguments as of :func:`check`."""
    return tuple(
        Doubt(one.check.at, one.check.n, one.check.revision, one.statement, _sentences(one.passage))
        for one in _judged(text, evidence, revision_text, given)
        if one.open and content_words(one.statement)
    )


def similarities(checks: Iterable[CitationCheck]) -> dict[tuple[int, int], float]:
    """The ``scores`` that were kept with earlier checks of the same text."""
    return {(one.at, one.n): one.similarity for one in checks if one.similarity is not None}


class _Judged(NamedTuple):
    """What quotes, figures and words say of one citation."""

    check: CitationCheck
    statement: str
    passage: str
    open: bool


def _judged(
    text: str, evidence: Sequence[Evidence], revision_text: Callable[[str], str | None], given: str
) -> Iterator[_Judged]:
    shown = {item.n: item for item in evidence}
    contents: dict[str, str | None] = {}
    for mark, statement in statements(text):
        for n in mark.numbers:
            item = shown.get(n)
            if item is not None and item.revision not in contents:
                contents[item.revision] = revision_text(item.revision)
            yield _judge(n, mark.span.start, statement, item, contents, given)


def _by_meaning(one: CitationCheck, score: float | None) -> CitationCheck:
    if score is None:
        return one
    near = score >= SIMILAR
    reason = f"means nearly the same ({score:.2f})" if near else f"{one.reason}; similarity {score:.2f}"
    status = "verified" if near else "unsupported"
    return one.model_copy(update={"similarity": score, "status": status, "reason": reason})


def _sentences(passage: str) -> tuple[str, ...]:
    return tuple(span.of(passage) for span in sentences(passage)) or (passage,)


def statements(text: str) -> tuple[tuple[Mark, str], ...]:
    """Each mark with what it vouches for: its sentence from the mark before to its own, the last mark to the sentence's end.
    A stretch with too few words to stand alone ("[2] reports that ...", "... [1][2]") gives way to the whole sentence."""
    everywhere = marks(text)
    found: list[tuple[Mark, str]] = []
    for sentence in sentences(text):
        inside = [mark for mark in everywhere if sentence.start <= mark.span.start < sentence.end]
        starts = [sentence.start, *(mark.span.end for mark in inside)]
        ends = [*(mark.span.end for mark in inside[:-1]), sentence.end]
        for mark, start, end in zip(inside, starts, ends, strict=False):  # the last start has no mark after it
            piece = strip_marks(text[start:end])
            alone = len(content_words(piece)) >= SHARED
            found.append((mark, piece if alone else strip_marks(sentence.of(text))))
    return tuple(found)


def _judge(
    n: int, at: int, statement: str, item: Evidence | None, contents: dict[str, str | None], given: str
) -> _Judged:
    if item is None:
        nothing = CitationCheck(n=n, at=at, status="missing", reason=f"no evidence [{n}] was shown to the writer")
        return _Judged(nothing, statement, "", open=False)
    content = contents[item.revision]
    stands = content is not None and bool(item.text) and content[item.start : item.end] == item.text
    result = support(statement, item.text, given) if stands else None
    start, end = (item.start + result.best.start, item.start + result.best.end) if result else (item.start, item.end)
    quote = item.text[result.best.start : result.best.end] if result else ""
    astray = "the revision is gone" if content is None else "the passage does not stand at its place in the revision"
    check = CitationCheck(
        n=n,
        at=at,
        revision=item.revision,
        entry=item.entry,
        passage=item.passage,
        start=start,
        end=end,
        quote=quote,
        quote_sha256=hashlib.sha256(quote.encode()).hexdigest(),
        status="verified" if result and result.holds else "unsupported",
        reason=result.reason if result else astray,
        snapshot=item.snapshot,
        snapshot_label=item.snapshot_label,
    )
    return _Judged(check, statement, item.text, open=result is not None and result.open)


def renumber(parts: Iterable[tuple[str, Sequence[CitationCheck]]]) -> Renumbered:
    """Number the citations of several texts together, from 1 in order of first use, and rewrite their marks to match.

    ``parts`` are (text, its checks) as :func:`check` gave them, so writers with different evidence lists can be joined. One
    new number is one quote at one place with one status: an entry cited for two sentences gets two numbers.
    """
    numbering = _Numbering()
    return Renumbered(
        tuple(
            numbering.rewrite(text, {(one.at, one.n): one for one in checks}, i)
            for i, (text, checks) in enumerate(parts)
        ),
        tuple(numbering.citations),
    )


class _Numbering:
    def __init__(self) -> None:
        self.by_identity: dict[tuple[object, ...], int] = {}
        self.citations: list[CitationCheck] = []

    def rewrite(self, text: str, checks: Mapping[tuple[int, int], CitationCheck], part: int) -> str:
        """A mark without its check is a KeyError: to drop it would hide a citation."""
        written, last = "", 0
        for mark in marks(text):
            written += text[last : mark.span.start]
            new = [self._number(checks[mark.span.start, n], part, len(written)) for n in mark.numbers]
            written += "".join(f"[{n}]" for n in dict.fromkeys(new))
            last = mark.span.end
        return written + text[last:]

    def _number(self, one: CitationCheck, part: int, at: int) -> int:
        # Two writers' missing [9] are two different nothings.
        nothing = (part, one.n)
        key = nothing if one.status == "missing" else (one.revision, one.start, one.end, one.quote_sha256, one.status)
        if key not in self.by_identity:
            self.by_identity[key] = len(self.by_identity) + 1
            self.citations.append(one.model_copy(update={"n": self.by_identity[key], "at": at}))
        return self.by_identity[key]
