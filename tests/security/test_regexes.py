"""No regular expression of ours takes long for any text: each is found in the source and attacked with texts made from itself.

Linear time is the rule. What is not linear is told how much text it is given at most, in ``BOUNDED``; what is put together at run time
cannot be found as it will be, and stands in ``ASSEMBLED`` with an example.
"""

from __future__ import annotations

import re

import pytest

from tests.security import regexes
from tests.security.regexes import Found

LENGTH, PATIENCE = 16_000, 0.8  # characters, and seconds of processor time; a quadratic one takes 0.3 to 16 s
BOUNDED = {
    "council.deliberation.citations:_ABBREVIATION": 9,  # the last characters before a full stop
}
ASSEMBLED = {
    "accounts.logins:pattern": r"Firefox/",  # one of a dozen words of our own
    "council.deliberation.parsing:f'<{{0,9}}/?\\\\s{{0,9}}{token}[^<>\\\\n]{{0,99}}>+|<{{0,9}}\\\\s{{0,9}}{token}'": (
        r"<{0,9}/?\s{0,9}a1[^<>\n]{0,99}>+|<{0,9}\s{0,9}a1"
    ),
    "council.deliberation.parsing:f'(?<![\\\\w-]){re.escape(label)}(?![\\\\w-])'": r"(?<![\w-])aa(?![\w-])",
}


def every() -> list[Found]:
    found = regexes.found()
    for one in found:
        if one.pattern is None and one.key in ASSEMBLED:
            one.pattern = re.compile(ASSEMBLED[one.key])
    return found


def test_each_is_found_or_declared() -> None:
    found = regexes.found()
    assert len(found) > 90
    unknown = {one.key for one in found if one.pattern is None} - set(ASSEMBLED)
    assert not unknown, f"put together at run time: give an example of each in ASSEMBLED: {unknown}"
    keys = {one.key for one in found}
    assert keys >= set(ASSEMBLED) | set(BOUNDED), "declared, and no longer there"


@pytest.mark.parametrize("one", every(), ids=lambda one: one.key)
def test_none_is_slow_on_any_text(one: Found) -> None:
    seconds, text = regexes.slowest(one, BOUNDED.get(one.key, LENGTH), PATIENCE)
    assert seconds < PATIENCE, f"{seconds:.1f} s for {len(text)} characters: {text[:40]!r} … {text[-8:]!r}"


@pytest.mark.parametrize(
    "slow", [r"(a+)+b", r"(?:a|a)*b", r"\s*(<!--.*?-->\s*)*<html", r"\s+$", r"#[ \t]+(.*?)[ \t]*#*[ \t]*$"]
)
def test_slow_ones_are_noticed(slow: str) -> None:
    one = Found("test", re.compile(slow), {"search"})
    assert regexes.slowest(one, LENGTH, 0.15)[0] > 0.15
