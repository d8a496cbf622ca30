"""Two revisions side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

CONTEXT = 3  # unchanged lines shown around each change
WORDS_MAX = 400  # in a line whose words are still compared one by one
_WORD = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of either side; a number is None where that side has no such line. ``kind`` is same, change, add, remove or gap."""

    kind: str
    old_number: int | None = None
    old: SafeString | str = ""
    new_number: int | None = None
    new: SafeString | str = ""


def side_by_side(old: str, new: str) -> list[Row]:
    """Every changed line with what stands around it; the rest is left out and named as a gap. Equal texts give nothing."""
    before, after = old.splitlines(), new.splitlines()
    matcher = SequenceMatcher(None, before, after)
    return [row for group in _groups(matcher) for row in _rows(group, before, after)]


_Opcode = tuple[str, int, int, int, int]


def _groups(matcher: SequenceMatcher[str]) -> Iterator[list[_Opcode]]:
    """Groups of changes with their context, each after the first preceded by a gap."""
    for number, group in enumerate(matcher.get_grouped_opcodes(CONTEXT)):
        skipped = group[0][1]
        yield [("gap", skipped, skipped, skipped, skipped), *group] if number or skipped else list(group)


def _rows(group: Sequence[_Opcode], before: Sequence[str], after: Sequence[str]) -> Iterator[Row]:
    for tag, i1, i2, j1, j2 in group:
        if tag == "gap":
            yield Row("gap")
        elif tag == "equal":
            for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                yield Row("same", i + 1, before[i], j + 1, after[j])
        else:
            yield from _changed(range(i1, i2), range(j1, j2), before, after)


def _changed(olds: range, news: range, before: Sequence[str], after: Sequence[str]) -> Iterator[Row]:
    paired = min(len(olds), len(news))
    for i, j in zip(olds[:paired], news[:paired], strict=True):
        old, new = _marked(before[i], after[j])
        yield Row("change", i + 1, old, j + 1, new)
    for i in olds[paired:]:
        yield Row("remove", i + 1, before[i])
    for j in news[paired:]:
        yield Row("add", new_number=j + 1, new=after[j])


def _marked(old: str, new: str) -> tuple[SafeString, SafeString]:
    """Both lines as HTML, the words that differ in ``<del>`` and ``<ins>``."""
    left, right = _WORD.findall(old), _WORD.findall(new)
    if max(len(left), len(right)) > WORDS_MAX:
        return format_html("<del>{}</del>", old), format_html("<ins>{}</ins>", new)
    old_html, new_html = [], []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        gone, come = "".join(left[i1:i2]), "".join(right[j1:j2])
        old_html.append(conditional_escape(gone) if tag == "equal" or not gone else format_html("<del>{}</del>", gone))
        new_html.append(conditional_escape(come) if tag == "equal" or not come else format_html("<ins>{}</ins>", come))
    # Each piece was escaped by the lines above.
    return mark_safe("".join(old_html)), mark_safe("".join(new_html))  # noqa: S308  # each piece is escaped above
