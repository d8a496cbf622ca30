"""Line diffs: right for every pair of texts, short where that is affordable, and never expensive."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge import diffs

TEXT = st.text("ab\n", max_size=40)


def apply(old: str, found: diffs.Diff) -> str:
    """What ``patch`` does: keep what stands outside the hunks, check and replace what stands inside."""
    left, result, at = diffs.lines(old), [], 0
    for hunk in found.hunks:
        start = hunk.old_start - 1 if hunk.old_lines else hunk.old_start
        result += left[at:start]
        assert [line.text for line in hunk.lines if line.op != "+"] == left[start : start + hunk.old_lines]
        fresh = [line.text for line in hunk.lines if line.op != "-"]
        assert len(fresh) == hunk.new_lines
        assert hunk.new_start == len(result) + bool(fresh)
        result += fresh
        at = start + hunk.old_lines
    return "".join([*result, *left[at:]])


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_diff_turns_the_old_text_into_the_new(old: str, new: str) -> None:
    assert apply(old, diffs.diff(old, new)) == new


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_diff_is_the_shortest(old: str, new: str) -> None:
    found = diffs.diff(old, new)
    left, right = diffs.lines(old), diffs.lines(new)
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]  # longest common subsequence, by the book
    for i, a in enumerate(left, 1):
        for j, b in enumerate(right, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    common = table[-1][-1]
    assert (found.removed, found.added) == (len(left) - common, len(right) - common)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\nb\nc\n", "a\nc\nd\n"),
        ("", "a\n"),
        ("a", "a\n"),
        ("x\n" * 20, "x\n" * 9 + "y\n" + "x\n" * 12),
        ("a\fb\nc", ""),
    ],
    ids=["edit", "from-nothing", "line-end", "far-apart", "to-nothing"],
)
def test_the_unified_form_is_one_that_patch_takes(old: str, new: str, tmp_path: Path) -> None:
    file, change = tmp_path / "text", tmp_path / "change"
    file.write_text(old, newline="")
    change.write_text(diffs.diff(old, new).unified("text", "text"), newline="")
    subprocess.run(["git", "apply", "--unidiff-zero", "--unsafe-paths", str(change)], cwd=tmp_path, check=True)
    assert (file.read_text() if file.exists() else "") == new


def test_the_same_text_has_no_diff() -> None:
    assert diffs.diff("a\nb", "a\nb") == diffs.Diff([], 0, 0, coarse=False)
    assert diffs.diff("a\nb", "a\nb").unified("x", "y") == ""


def test_distant_changes_are_hunks_of_their_own() -> None:
    old = "".join(f"{n}\n" for n in range(40))
    found = diffs.diff(old, old.replace("5\n", "five\n", 1).replace("30\n", "thirty\n"))
    assert [(hunk.old_start, hunk.old_lines) for hunk in found.hunks] == [(3, 7), (28, 7)]


def _hostile(kind: str) -> tuple[str, str]:
    draw = random.Random(7)
    if kind == "random":
        return tuple("".join(draw.choices(("a\n", "b\n"), k=100_000)) for _ in range(2))  # type: ignore[return-value]
    if kind == "empty lines":
        return "\n" * 200_000, "x\n" + "\n" * 150_000 + "y\n" * 20_000
    if kind == "shifted":
        return "a\nb\n" * 50_000, "b\na\n" * 50_000
    return "x" * 200_000, "y" * 200_000


@pytest.mark.parametrize("kind", ["random", "empty lines", "shifted", "one line"])
def test_the_longest_texts_take_bounded_work(kind: str) -> None:
    old, new = _hostile(kind)
    started = time.process_time()
    found = diffs.diff(old, new)
    assert time.process_time() - started < 5
    assert apply(old, found) == new
