"""Writing measured figures into docs/benchmarks.md, each bench between two marks of its own.

    <!-- bench:NAME -->   what the bench wrote last, with its date, machine and load   <!-- /bench:NAME -->

The prose around the marks is people's.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def publish(name: str, body: str, *, write: bool, page: Path = PAGE) -> None:
    """Print the figures, and with ``write`` put them in place of those that stand on the page. Raises ValueError, after printing,
    when the page has no place for them."""
    text = f"{body}\n\n{circumstances()}"
    print(text, flush=True)
    if write:
        page.write_text(replaced(page.read_text(), name, text))


def replaced(page: str, name: str, text: str) -> str:
    start, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    found = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if not found.search(page):
        raise ValueError(f"the page has no {start} … {end}")
    return found.sub(lambda _: f"{start}\n{text}\n{end}", page, count=1)


def circumstances() -> str:
    """When and on what, and how busy the machine was: a load above the bench's own part means others used it."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"load average at the end {load}."
    )
