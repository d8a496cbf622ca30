"""Minutes as Markdown (CommonMark with tables).

What people, packs and models wrote must not become markup: a link that says one thing and leads elsewhere, an image that calls
home, HTML, a heading that poses as ours. So all of it passes through ``inert`` (or ``quoted``, for longer text), which

- takes out what a reader cannot see (bidirectional overrides, zero width and tag characters, controls),
- escapes every character that opens markup anywhere, writes ``<``, ``>`` and ``&`` as entities, so that there is no HTML and no
  autolink in angle brackets, and escapes what opens a list, a heading or a rule at the start of a line,
- takes indentation away, which would open a code block,
- writes the ``:`` of ``://``, the ``.`` of ``www.`` and ``@`` as entities, so that bare addresses are not made into links.

Longer text also stands in a block quote, line by line, so that it is always seen to be somebody's words. What this cannot prevent: a
renderer beyond CommonMark may still recognise a bare address after it has read the entities; the link then leads where it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from council.deliberation.prompts import visible

Json = dict[str, Any]

_OPENS = re.compile(r"[\\`*_\[\]{}|~#$^!]")
_OPENS_A_LINE = re.compile(r"^(?:([-+=])|(\d{1,9})([.)]))")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)


def inert(text: str) -> str:
    """The text on one line, to stand anywhere in a paragraph, a heading, a list item or a table's cell."""
    return _line(" ".join(visible(text).split()))


def quoted(text: str) -> list[str]:
    """The text as the lines of a block quote."""
    return [f"> {_line(' '.join(line.split()))}".rstrip() for line in visible(text).split("\n")]


def _line(text: str) -> str:
    escaped = _OPENS.sub(lambda found: "\\" + found.group(), text)
    escaped = re.sub(r"[&<>@]", lambda found: _ENTITIES[found.group()], escaped)
    escaped = _ADDRESS.sub(lambda found: f"&#{ord(found.group())};", escaped)
    return _OPENS_A_LINE.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", escaped)


# --- the minutes ------------------------------------------------------------------------------------------------------


def render(minutes: Json) -> str:
    lines = [f"# {inert(minutes['question'])}", "", *_facts(minutes["facts"])]
    lines += _section("Options", [f"- {inert(option)}" for option in minutes["options"]])
    lines += _section("Seats", [_seat(seat) for seat in minutes["seats"]])
    lines += _section("Packs", [f"- {inert(pack)}" for pack in minutes["packs"]])
    for run in reversed(minutes["runs"]):
        lines += _run(run)
    lines += _section("Messages", [line for message in minutes["messages"] for line in _message(message)])
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, lines: Sequence[str], level: int = 2) -> list[str]:
    return ["", f"{'#' * level} {title}", "", *lines] if lines else []


def _facts(facts: Iterable[Json]) -> list[str]:
    return [f"- {fact['term']}: {inert(fact['value'])}" for fact in facts]


def _seat(seat: Json) -> str:
    chair = ", chair" if seat["chair"] else ""
    role = f": {inert(seat['role'])}" if seat["role"] else ""
    return f"- **{inert(seat['name'])}**{chair}, {inert(seat['sits'])}{role}"


def _message(message: Json) -> list[str]:
    return [f"{message['at']}, {message['kind']}:", "", *quoted(message["content"]), ""]


def _run(run: Json) -> list[str]:
    lines = ["", f"## Run {run['number']}", "", *_facts(run["facts"])]
    if run["decision"]:
        lines += _decision(run["decision"])
    if run["claims"]:
        rows = [
            [claim["id"], *(claim[name] for name in ("text", "by", "disputed", "opposed"))] for claim in run["claims"]
        ]
        lines += _section("Claims", _table(("", "Claim", "Asserted by", "Disputed by", "Concluded otherwise"), rows), 3)
    for round_ in run["rounds"]:
        lines += _round(round_)
    return lines


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [[inert(str(cell)) for cell in row] for row in rows]
    return [_row([inert(one) for one in head]), _row(["---"] * len(head)), *map(_row, cells)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _decision(decision: Json) -> list[str]:
    close = " (too close to call)" if decision["too_close"] else ""
    lines = ["", f"### {decision['heading']}{close}", ""]
    lines += [f"**{inert(note)}**  " for note in decision["notes"]]
    lines += ["", f"**{inert(decision['option'])}**", ""] if decision["option"] else []
    lines += [*quoted(decision["text"]), "", decision["written"], "", *_facts(decision["facts"])]
    lines += _section("Sources", list(_sources(decision["sources"])), 4)
    lines += _section("Dissent", [line for one in decision["dissent"] for line in _dissent(one)], 4)
    lines += _section("Changes of mind", [f"- {inert(flip)}" for flip in decision["flips"]], 4)
    lines += _section("Questions between seats", [f"- {inert(one)}" for one in decision["exchange"]], 4)
    lines += _section("Seats that were missing", [f"- {inert(seat)}" for seat in decision["missing"]], 4)
    if decision["rules"]:
        rows = [[rule["name"], rule["winner"], *rule["scores"]] for rule in decision["rules"]]
        lines += _section("By other rules", _table(("Rule", "Winner", *decision["candidates"]), rows), 4)
    return lines


def _dissent(one: Json) -> list[str]:
    held = f" for “{inert(one['option'])}”" if one["option"] else ""
    quoting = "" if one["written"] else ", quoted from its answer"
    return [f"{inert(one['name'])}{held}{quoting}:", "", *quoted(one["text"]), "", *_sources(one["sources"]), ""]


def _sources(sources: Iterable[Json]) -> Iterator[str]:
    for source in sources:
        title = inert(source["title"]) or "no such source"
        quote = f": “{inert(source['quote'])}”" if source["quote"] else ""
        place = f" ({inert(source['place'])}; SHA-256 {source['hash']})" if source.get("place") else ""
        reason = f" – {inert(source['reason'])}" if source["reason"] else ""
        yield f"- \\[{source['n']}\\] {title}, **{source['word']}**{reason}{quote}{place}"


def _round(round_: Json) -> list[str]:
    lines = ["", f"### {inert(round_['title'])}", ""]
    for said in round_["said"]:
        lines += _said(said)
    lines += [inert(round_["gate"])] if round_["gate"] else []
    lines += [f"- {inert(failure)}" for failure in round_["failed"]]
    return lines + (_count(round_["count"]) if round_["count"] else [])


def _said(said: Json) -> list[str]:
    kind = f", {said['kind'].lower()}" if said["kind"] else ""
    option = f": **{inert(said['option'])}**" if said["option"] else ""
    sure = f" ({said['confidence']} sure)" if said["confidence"] else ""
    carried = ", carried over" if said["carried"] else ""
    lines = [f"**{inert(said['name'])}**{kind}{carried}{option}{sure}", ""]
    lines += [f"Asked: {inert(said['asked'])}", ""] if said["asked"] else []
    lines += [*quoted(said["text"]), ""]
    lines += [f"Changed because: {inert(said['because'])}", ""] if said["because"] else []
    lines += [f"Would change its mind: {inert(said['would_change'])}", ""] if said["would_change"] else []
    lines += [f"- Searched for {inert(search)}" for search in said["searches"]]
    return [*lines, *_sources(said["sources"]), ""]


def _count(count: Json) -> list[str]:
    lines = ["", f"#### {count['title']}", ""]
    lines += [line for line in (count["sealed"], count["summary"]) if line]
    held = [[one["label"], one["text"], f"{one['held']} of {one['of']}", one["names"]] for one in count["candidates"]]
    lines += ["", *_table(("Candidate", "Text", "Seats", "Held by"), held)] if held else []
    if count["ballots"]:
        rows = [[one["name"], *(_places(one, count["width"])), one["scores"]] for one in count["ballots"]]
        lines += ["", *_table(("Ballot of", *count["place_names"], "Scores"), rows)]
    return lines


def _places(ballot: Json, width: int) -> list[str]:
    return ["abstained", *[""] * (width - 1)] if ballot["abstain"] else list(ballot["cells"])
