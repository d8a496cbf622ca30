"""Markdown, with the front matter that many tools write."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from knowledge.headings import without_closing
from knowledge.imports.limits import Limits
from knowledge.imports.refusal import Refused
from knowledge.imports.text import Draft, stem, tidy_title

OWN: Final = "quorum_entry"  # this key in the front matter marks an entry of our own export: its text is taken as it is
FIELDS: Final = (
    "title",
    "tags",
    "metadata",
    "source_url",
    "external_id",
    "language",
    "enabled",
    "reviewed_at",
    "review_by",
)
_FRONT: Final = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)(?:^|\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FRONT_MAX: Final = 128 * 1024
_HEADING: Final = re.compile(r"^ {0,3}#{1,6}[ \t]+([^ \t\n].*)$|^(\S.*)\r?\n {0,3}(?:=+|-{2,})[ \t]*$", re.MULTILINE)


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which are how a few lines become gigabytes. Dates stay text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise Refused("The front matter uses YAML aliases, which are not read.")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    char: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for char, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str, name: str, limits: Limits) -> Iterator[Draft]:
    """One draft."""
    front, body = front_matter(text)
    if OWN in front:
        yield {"content": body, **{key: value for key, value in front.items() if key in FIELDS and value is not None}}
        return
    body = body.strip()
    known = {key: front[key] for key in ("source_url", "external_id") if isinstance(front.get(key), str)}
    title = tidy_title(front.get("title"), limits.title_chars) or heading(body, limits.title_chars) or stem(name)
    metadata = _plain({key: value for key, value in front.items() if key not in FIELDS})
    given = front.get("metadata")
    if isinstance(given, Mapping):
        metadata |= _plain(given)
    yield {"title": title, "content": body, "tags": _tags(front.get("tags")), "metadata": metadata, **known}


def is_own(text: str) -> bool:
    return text.startswith(f"---\n{OWN}: ")


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """What stands between two ``---`` lines at the start, and the rest. Raises ``Refused`` when that is not a YAML mapping."""
    found = _FRONT.match(text)
    if not found:
        return {}, text.removeprefix("\ufeff")
    if len(found[1]) > _FRONT_MAX:
        raise Refused("The front matter is longer than 128 KiB.")
    try:
        values = yaml.load(found[1], _Loader)  # noqa: S506  # a SafeLoader of our own
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        place = f" (line {where.line + 2})" if where else ""
        raise Refused(f"The front matter is not YAML that can be read{place}.") from error
    if values is None:
        return {}, text[found.end() :]
    if not isinstance(values, dict):
        return {}, text  # a rule at the top of the page, not front matter
    return {str(key): value for key, value in values.items()}, text[found.end() :]


def heading(text: str, limit: int) -> str:
    found = _HEADING.search(text[:20_000])
    return tidy_title(without_closing(found[1] or "") or found[2] or "", limit) if found else ""


def _tags(value: Any) -> list[str]:
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [str(word).strip() for word in words if str(word).strip()]


def _plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _json(value) for key, value in values.items()}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, list | tuple | set):
        return [_json(item) for item in value]
    if isinstance(value, dt.date | bytes):
        return str(value)
    return value
