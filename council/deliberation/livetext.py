"""The prose within a reply that is still being written: what watchers may see of a JSON object before it is complete."""

from __future__ import annotations

from collections.abc import Callable

from council.deliberation import prompts
from council.deliberation.types import Prompt

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class LiveText:
    """Shows one top-level string field of a JSON object while it is being written, or prose as it comes (``field=None``).

    ``feed(chunk)`` returns only what is new, unescaped and ``visible``; half an escape or half a surrogate pair waits for its
    other half. However the reply is cut into chunks, the pieces add up to the same text. ``hidden`` shows nothing at all.
    """

    def __init__(self, field: str | None = None, *, hidden: bool = False) -> None:
        self.field = field
        self._state: Callable[[str], str] = self._seek if field is not None else self._pass
        if hidden:
            self._state = self._silent
        self._depth = 0
        self._key: str | None = None  # the last string read at depth 1, a key if a colon follows
        self._held = ""  # an escape that is not complete
        self._high = ""  # a high surrogate that waits for its low one
        self._string = ""

    def feed(self, chunk: str) -> str:
        return "".join(self._state(char) for char in chunk)

    def _pass(self, char: str) -> str:
        return prompts.visible(char)

    def _seek(self, char: str) -> str:
        """Outside strings: before the object, between its members, and after the field (where nothing shows)."""
        if char == '"' and self._depth:
            self._string = ""
            self._state = self._show if self._due() else self._skip
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth = max(0, self._depth - 1)  # prose before the object may close what it never opened
        elif char == ":" and self._depth == 1:
            self._key = self._string
        elif char == ",":
            self._key = None
        return ""

    def _due(self) -> bool:
        return self._depth == 1 and self._key == self.field

    def _skip(self, char: str) -> str:
        done, text = self._character(char)
        self._string += text
        if done:
            self._state = self._seek
        return ""

    def _show(self, char: str) -> str:
        done, text = self._character(char)
        if done:
            self._state = self._silent
        return prompts.visible(text)

    def _silent(self, _char: str) -> str:
        return ""

    def _character(self, char: str) -> tuple[bool, str]:
        """Feed one character of a JSON string: whether the string ended, and the text it completes, if any."""
        if not self._held:
            if char == "\\":
                self._held = char
                return False, ""
            self._high = ""
            return char == '"', "" if char == '"' else char
        self._held += char
        if self._held[1] != "u":
            self._held, self._high = "", ""
            return False, _ESCAPES.get(char, "")
        if len(self._held) < 6:
            return False, ""
        code, self._held = self._held[2:], ""
        return False, self._code_unit(code)

    def _code_unit(self, code: str) -> str:
        try:
            unit = chr(int(code, 16))
        except ValueError:  # not JSON: the reply will be refused when it is complete, there is nothing to show here
            return ""
        high, self._high = self._high, unit if "\ud800" <= unit <= "\udbff" else ""
        if high and "\udc00" <= unit <= "\udfff":
            return (high + unit).encode("utf-16", "surrogatepass").decode("utf-16")
        return "" if self._high else unit  # a lone surrogate is not visible anyway


def live_text(prompt: Prompt) -> LiveText:
    """What to pass a prompt's streamed pieces through before watchers see them; it hides everything of a prompt not ``live``."""
    if prompt.json_schema is None:
        return LiveText(hidden=not prompt.live)
    properties = prompt.json_schema.get("properties")
    first = next(iter(properties), None) if isinstance(properties, dict) else None
    return LiveText(first, hidden=not prompt.live or first is None)
