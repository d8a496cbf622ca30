"""Line diffs with a bound on the work: Myers' greedy algorithm (1986, "An O(ND) difference algorithm and its variations",
section 4) on what is left between the common start and the common end.

Whoever may edit may also choose the texts, so the worst case counts: past ``WORK`` elementary steps the differing stretch is reported
as replaced whole. Nothing then is wrong, it is only coarse, and the result says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Final, Literal

WORK: Final = 400_000  # elementary steps, a few tenths of a second
CONTEXT: Final = 3  # unchanged lines around a change

Op = Literal[" ", "-", "+"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its line end (the last one may have none)."""

    op: Op
    text: str


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines around one or more changes. Starts count from 1; a side without lines starts at the line before, as in unified diffs."""

    old_start: int
    old_lines: int
    new_start: int
    new_lines: int
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Diff:
    hunks: list[Hunk]
    added: int
    removed: int
    coarse: bool  # the texts differ too much to compare them line by line

    def unified(self, old_name: str, new_name: str) -> str:
        """As ``diff -u`` writes it; empty when nothing differs."""
        if not self.hunks:
            return ""
        return "".join([f"--- {old_name}\n+++ {new_name}\n", *(part for hunk in self.hunks for part in _unified(hunk))])


def diff(old: str, new: str) -> Diff:
    old_lines, new_lines = lines(old), lines(new)
    script, coarse = _script(old_lines, new_lines)
    hunks = list(_hunks(script))
    counts = {op: sum(line.op == op for line in script) for op in ("+", "-")}
    return Diff(hunks, added=counts["+"], removed=counts["-"], coarse=coarse)


def lines(text: str) -> list[str]:
    """Lines with their ends. Only the line feed parts lines: a form feed or U+2028 is part of one."""
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _script(old: Sequence[str], new: Sequence[str]) -> tuple[list[Line], bool]:
    """Every line of both texts, in order, as kept, removed or added."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    left, right = old[start : len(old) - end], new[start : len(new) - end]
    edits = _myers(*_interned(left, right))
    if edits is None:
        middle = [*(Line("-", text) for text in left), *(Line("+", text) for text in right)]
    else:
        middle = [Line(op, left[at] if op != "+" else right[at]) for op, at in edits]
    kept = (Line(" ", text) for text in old[:start])
    return [*kept, *_removed_first(middle), *(Line(" ", text) for text in old[len(old) - end :])], edits is None


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines both begin with."""
    return next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


def _interned(old: Sequence[str], new: Sequence[str]) -> tuple[list[int], list[int]]:
    """The lines as small numbers, equal where the lines are: comparing long lines again and again would be work uncounted."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(text, len(numbers)) for text in old], [
        numbers.setdefault(text, len(numbers)) for text in new
    ]


def _myers(old: Sequence[int], new: Sequence[int]) -> list[tuple[Op, int]] | None:
    """The shortest edit script as (op, index into its side), or None when it takes too much work to find.

    After ``edits`` edits, ``reached[i]`` is how far into ``old`` one gets on diagonal ``2 * i - edits``.
    """
    reached, trace, work = [0], [], 0
    for edits in range(len(old) + len(new) + 1):
        trace.append(reached)
        before, reached = reached, []
        for i in range(edits + 1):
            x = before[i] if _adds(before, i, edits) else before[i - 1] + 1
            y = begin = x - (2 * i - edits)
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            reached.append(x)
            work += 1 + y - begin
            if x >= len(old) and y >= len(new):
                return _backtrack(trace, len(old), len(new))
            if work > WORK:
                return None
    raise AssertionError("an edit script is never longer than both texts together")


def _adds(before: Sequence[int], i: int, edits: int) -> bool:
    """Whether the furthest path on this diagonal ends in an added line; otherwise it ends in a removed one."""
    return i == 0 or (i != edits and before[i - 1] < before[i])


def _backtrack(trace: Sequence[Sequence[int]], x: int, y: int) -> list[tuple[Op, int]]:
    script: list[tuple[Op, int]] = []
    for edits in range(len(trace) - 1, 0, -1):
        before, i = trace[edits], (x - y + edits) // 2
        adds = _adds(before, i, edits)
        came_to = before[i] if adds else before[i - 1] + 1  # where the common lines after the edit begin
        script += ((" ", at) for at in range(x - 1, came_to - 1, -1))
        x, y = came_to, y - (x - came_to)
        if adds:
            y -= 1
            script.append(("+", y))
        else:
            x -= 1
            script.append(("-", x))
    script += ((" ", at) for at in range(x - 1, -1, -1))
    return script[::-1]


def _removed_first(script: Sequence[Line]) -> list[Line]:
    """In each stretch of changes what goes stands before what comes."""
    stretches = groupby(script, key=lambda line: line.op == " ")
    return [line for _, stretch in stretches for line in sorted(stretch, key=lambda line: line.op == "+")]


def _hunks(script: Sequence[Line]) -> Iterator[Hunk]:
    changed = [at for at, line in enumerate(script) if line.op != " "]
    old = list(accumulate((line.op != "+" for line in script), initial=0))  # lines of the old text before each
    new = list(accumulate((line.op != "-" for line in script), initial=0))
    while changed:
        many = next((n for n in range(1, len(changed)) if changed[n] - changed[n - 1] > 2 * CONTEXT + 1), len(changed))
        first, last = max(changed[0] - CONTEXT, 0), min(changed[many - 1] + CONTEXT + 1, len(script))
        sizes = old[last] - old[first], new[last] - new[first]
        starts = old[first] + bool(sizes[0]), new[first] + bool(sizes[1])
        yield Hunk(starts[0], sizes[0], starts[1], sizes[1], list(script[first:last]))
        changed = changed[many:]


def _unified(hunk: Hunk) -> Iterator[str]:
    yield f"@@ -{hunk.old_start},{hunk.old_lines} +{hunk.new_start},{hunk.new_lines} @@\n"
    for line in hunk.lines:
        yield f"{line.op}{line.text}"
        if not line.text.endswith("\n"):
            yield "\n\\ No newline at end of file\n"
