"""Cut Markdown into passages of 200 to 220 model tokens, along its own joints. Pure: text in, character spans out.

A passage ends where a section ends, when that leaves neither a scrap nor an overlong piece; sections below ``MIN_TOKENS`` share a
passage with their neighbour. A longer section is cut into equal parts at the best joint near each cut: paragraph, list item or
sentence, line, word. Every character that is not white space lies in exactly one passage.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from knowledge.headings import without_closing

CHUNKER_VERSION: Final = 1
MAX_TOKENS: Final = 220  # the model reads 256, which leaves room for the prefix
MIN_TOKENS: Final = 60
MAX_CHARS: Final = 2400  # a second bound, for text that a tokenizer sees as few unknown words (a data URL is one token)
WINDOW: Final = 0.8  # a cut may fall this much short of the ideal place to reach a better joint
HEADING_MAX: Final = 500
SEPARATOR: Final = " › "

# Tokens in each of several texts. Counts must add up over white space, as those of word-piece tokenizers do.
TokenCounter = Callable[[Sequence[str]], list[int]]

_ATOM_CHARS = 400
_WORD = re.compile(r"\S+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+([^ \t\n].*)?)?$")
_SENTENCE_END = re.compile(r"(?:[.!?…][\"'”’)\]*_]*|[。！？])$")
_LIST_ITEM = re.compile(r"(?:[-*+]|\d{1,3}[.)])$")
_IDEOGRAPHIC_STOP = re.compile(r"(?<=[。！？；，、])")


@dataclass(frozen=True, slots=True)
class Chunk:
    """``content[start:end]``, and the titles of the sections it stands in, outermost first."""

    start: int
    end: int
    heading: str


@dataclass(frozen=True, slots=True)
class _Atom:
    """A run of characters that is never cut; usually a word."""

    start: int
    end: int
    tokens: int
    section: int
    joint: int  # how good a place for a cut lies before it: 4 section, 3 paragraph, 2 sentence or item, 1 line, 0 none


def approximate_tokens(texts: Sequence[str]) -> list[int]:
    """A cheap stand-in for a tokenizer that errs on the high side: a token for every four letters begun, or for each other sign."""
    return [sum(-(-len(run) // 4) if run.isalnum() and run.isascii() else len(run) for run in _runs(t)) for t in texts]


def chunk(content: str, count_tokens: TokenCounter = approximate_tokens) -> list[Chunk]:
    """Passages of ``content``, in order, without overlap; none when it is blank."""
    headings = list(_sections(content))
    atoms = list(_atoms(content, [start for start, _ in headings], count_tokens))
    if not atoms:
        return []
    cutter = _Cutter(atoms)
    return [
        Chunk(atoms[first].start, atoms[last - 1].end, headings[cutter.main_section(first, last)][1][:HEADING_MAX])
        for first, last in cutter.cuts()
    ]


def _runs(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]", text)


def _sections(content: str) -> Iterator[tuple[int, str]]:
    """(start, heading path) of every section; the first starts at 0 and may have no heading. Fenced code holds no headings."""
    yield 0, ""
    path: list[tuple[int, str]] = []
    fence = ""
    position = 0
    for line in content.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        if opened := _FENCE.match(bare):
            mark = opened[1]
            fence = "" if fence and mark.startswith(fence) else fence or mark
        elif not fence and (found := _HEADING.match(bare)):
            level = len(found[1])
            path = [*(step for step in path if step[0] < level), (level, without_closing(found[2] or "").strip())]
            yield position, SEPARATOR.join(title for _, title in path if title)
        position += len(line)


def _atoms(content: str, starts: Sequence[int], count_tokens: TokenCounter) -> Iterator[_Atom]:
    previous_end, previous_section = 0, -1
    for start, end, tokens in _spans(content, count_tokens):
        section = bisect_right(starts, start) - 1
        gap = content[previous_end:start]
        joint = 4 if section != previous_section else _joint(content, previous_end, gap, content[start:end])
        yield _Atom(start, end, tokens, section, joint)
        previous_end, previous_section = end, section


def _joint(content: str, previous_end: int, gap: str, word: str) -> int:
    lines = len(gap.splitlines()) - (not gap.endswith(("\n", "\r"))) if gap else 0
    if lines >= 2:
        return 3
    before = content[max(0, previous_end - 8) : previous_end]
    if _SENTENCE_END.search(before) or (lines and _LIST_ITEM.match(word)):
        return 2
    return 1 if lines else 0


def _spans(content: str, count_tokens: TokenCounter) -> Iterator[tuple[int, int, int]]:
    """(start, end, tokens) of words; those too long for an atom are cut at ideographic stops, then in halves."""
    matches = list(_WORD.finditer(content))
    different = list({match[0] for match in matches})  # a text repeats most of its words: count each once
    tokens_of = dict(zip(different, count_tokens(different), strict=True))
    for match in matches:
        (start, end), tokens = match.span(), tokens_of[match[0]]
        if _fits(end - start, tokens):
            yield start, end, tokens
        else:
            stops = {start, end, *(start + stop.start() for stop in _IDEOGRAPHIC_STOP.finditer(match[0]))}
            for left, right in pairwise(sorted(stops)):
                yield from _halves(content, left, right, count_tokens)


def _halves(content: str, start: int, end: int, count_tokens: TokenCounter) -> Iterator[tuple[int, int, int]]:
    (tokens,) = count_tokens([content[start:end]])
    if end - start <= 1 or _fits(end - start, tokens):
        yield start, end, tokens
        return
    middle = (start + end) // 2
    yield from _halves(content, start, middle, count_tokens)
    yield from _halves(content, middle, end, count_tokens)


def _fits(chars: int, tokens: int) -> bool:
    return chars <= _ATOM_CHARS and tokens <= MAX_TOKENS // 4


class _Cutter:
    """Chooses cuts between atoms. The *cost* of a run of atoms is its tokens, or its characters as a share of ``MAX_CHARS``."""

    def __init__(self, atoms: Sequence[_Atom]) -> None:
        self.atoms = atoms
        self.tokens = [0, *accumulate(atom.tokens for atom in atoms)]
        self.section_ends = [i for i, atom in enumerate(atoms) if atom.joint == 4 and i] + [len(atoms)]

    def cost(self, first: int, last: int) -> float:
        chars = self.atoms[last - 1].end - self.atoms[first].start
        return max(self.tokens[last] - self.tokens[first], chars * MAX_TOKENS / MAX_CHARS)

    def cuts(self) -> Iterator[tuple[int, int]]:
        first = 0
        while first < len(self.atoms):
            last = self._whole_sections(first) or self._part_of_section(first)
            yield first, last
            first = last

    def main_section(self, first: int, last: int) -> int:
        """The section that most of the run's tokens stand in: its heading names the passage."""
        weight: dict[int, int] = {}
        for i in range(first, last):
            section = self.atoms[i].section
            weight[section] = weight.get(section, 0) + self.tokens[i + 1] - self.tokens[i]
        return max(weight, key=lambda section: weight[section])

    def _whole_sections(self, first: int) -> int | None:
        """End of the shortest run of whole sections that is long enough, plus whole tiny sections that still fit."""
        ends = self.section_ends[bisect_right(self.section_ends, first) :]
        chosen: int | None = None
        for previous, end in pairwise([first, *ends]):
            if self.cost(first, end) > MAX_TOKENS:
                break
            tiny = self.cost(previous, end) < MIN_TOKENS
            if chosen is not None and not tiny and self.cost(first, chosen) >= MIN_TOKENS:
                break
            chosen = end
        if chosen in (None, len(self.atoms)) or self.cost(first, chosen) >= MIN_TOKENS:
            return chosen
        return None  # a scrap before a long section: cut inside that section instead

    def _part_of_section(self, first: int) -> int:
        """End of the next of the equal parts that the run up to the end of the overlong section is cut into."""
        end = next(end for end in self.section_ends if self.cost(first, end) > MAX_TOKENS)
        parts = -(-self.cost(first, end) // MAX_TOKENS)
        ideal = self.cost(first, end) / parts
        latest = self._latest(first, MAX_TOKENS, end)
        earliest = min(self._latest(first, ideal * WINDOW, end) + 1, latest)
        return max(
            range(earliest, latest + 1),
            key=lambda cut: (self.atoms[cut].joint, -abs(self.cost(first, cut) - ideal)),
        )

    def _latest(self, first: int, budget: float, end: int) -> int:
        """The last cut before ``end`` whose run costs at most ``budget``; at least one atom is taken."""
        low, high = first + 1, end - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.cost(first, middle) <= budget else (low, middle - 1)
        return low
