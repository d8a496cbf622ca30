"""The titles of Markdown's ATX headings."""

from __future__ import annotations


def without_closing(title: str) -> str:
    """``title`` without the number signs that may close it, and the blanks around them (CommonMark 4.2). Done by hand: a regular
    expression for it takes cubic time on a line of blanks."""
    text = title.rstrip(" \t\r")
    bare = text.rstrip("#")
    return bare.rstrip(" \t") if bare[-1:] in ("", " ", "\t") else text
