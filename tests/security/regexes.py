"""Every regular expression of our own code, found in its source, and texts made from each to be slow on."""

from __future__ import annotations

import ast
import importlib
import re
import re._constants as op  # type: ignore[import-not-found]  # the library's own, which the stubs leave out
import re._parser as sre  # type: ignore[import-not-found]
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from django.conf import settings

APPS = ("accounts", "config", "council", "knowledge", "realtime")
METHODS = {"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
FROM_THE_START = {"match", "fullmatch"}
SUFFIXES = ("", "\x00", "\n!")


@dataclass
class Found:
    """``key``: the module and the name it is kept under, or the pattern itself. ``uses``: what is asked of it."""

    key: str
    pattern: re.Pattern[Any] | None
    uses: set[str] = field(default_factory=set)

    def run(self, text: str) -> None:
        """What costs most of what it is used for."""
        assert self.pattern is not None
        given: Any = text.encode("latin-1", "replace") if isinstance(self.pattern.pattern, bytes) else text
        if self.uses and self.uses <= FROM_THE_START:
            for use in self.uses:
                getattr(self.pattern, use)(given)
        else:
            for _ in self.pattern.finditer(given):
                pass


def found() -> list[Found]:
    files = [path for app in APPS for path in sorted((Path(settings.BASE_DIR) / app).rglob("*.py"))]
    every = [one for path in files if "migrations" not in path.parts for one in _in_module(path)]
    for one in every:
        name = one.key.rpartition(":")[2]
        if name.isidentifier() and not name.startswith("_"):
            one.uses.add("search")  # another module may use it in any way
    return every


def _in_module(path: Path) -> Iterator[Found]:
    module = ".".join(path.relative_to(settings.BASE_DIR).with_suffix("").parts)
    tree = ast.parse(path.read_text())
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        used = _of_re(node)
        if used is None:
            continue
        assert isinstance(node, ast.Call)
        parent = parents[node]
        target = parent.targets[0] if isinstance(parent, ast.Assign) else getattr(parent, "target", None)
        if used == "compile" and isinstance(target, ast.Name):
            pattern = getattr(importlib.import_module(module), target.id, None)
            yield Found(f"{module}:{target.id}", pattern, _uses(tree, target.id))
        else:
            yield Found(f"{module}:{ast.unparse(node.args[0])}", _literal(node), {used} - {"compile"})


def _of_re(node: ast.AST) -> str | None:
    """``re.<what>(…)``: what."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=method)) if method in METHODS | {"compile"}:
            return method
    return None


def _uses(tree: ast.Module, name: str) -> set[str]:
    def names(node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == name

    return {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute) and names(one.value)} & METHODS


def _literal(call: ast.Call) -> re.Pattern[Any] | None:
    """None for what is put together when it is used."""
    text = call.args[0]
    if not isinstance(text, ast.Constant):
        return None
    flags = next((ast.unparse(one.value) for one in call.keywords if one.arg == "flags"), "")
    if not flags and len(call.args) > 1 and (last := ast.unparse(call.args[-1])).startswith("re."):
        flags = last
    given = 0
    for flag in re.findall(r"re\.([A-Z]+)\b", flags):
        given |= getattr(re, flag)
    return re.compile(text.value, given)


# --- Attacks ----------------------------------------------------------------------------------------------------------


def attacks(pattern: re.Pattern[Any], length: int) -> Iterator[str]:
    """What leads to each repetition, then much of what it repeats, then something that does not belong there."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    parsed = sre.parse(source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags)
    pumps: dict[tuple[str, str], None] = {}
    for before, body in _repeats(list(parsed), ""):
        for other in (False, True):
            pumps[before, _sample(body, other=other) or "a"] = None
    literals = sorted({chr(value) for kind, value in _flat(parsed) if kind is op.LITERAL})[:12]
    pumps |= {("", one): None for one in (*literals, " ", "a", "0", "a ", "\n", " \n")}
    for (before, pump), suffix in product(pumps, SUFFIXES):
        yield before + pump * (length // len(pump)) + suffix


def _repeats(nodes: list[Any], before: str) -> Iterator[tuple[str, list[Any]]]:
    for kind, value in nodes:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            if value[1] > 20:
                yield before, list(value[2])
            yield from _repeats(list(value[2]), before)
        elif kind is op.SUBPATTERN:
            yield from _repeats(list(value[-1]), before)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _repeats(list(branch), before)
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            yield from _repeats(list(value[1]), before)
        before += _sample([(kind, value)])


def _flat(nodes: Any) -> Iterator[tuple[Any, Any]]:
    for kind, value in nodes:
        yield kind, value
        for inner in value if isinstance(value, tuple | list) else ():
            if isinstance(inner, sre.SubPattern):
                yield from _flat(inner)
            elif isinstance(inner, list):
                yield from (
                    one
                    for part in inner
                    for one in (_flat(part) if isinstance(part, sre.SubPattern) else _flat([part]))
                )


_CATEGORY = {
    op.CATEGORY_DIGIT: "0",
    op.CATEGORY_SPACE: " ",
    op.CATEGORY_WORD: "a",
    op.CATEGORY_NOT_DIGIT: "a",
    op.CATEGORY_NOT_SPACE: "a",
    op.CATEGORY_NOT_WORD: "-",
}


def _sample(nodes: list[Any], *, other: bool = False) -> str:
    """A text that the nodes match, or nearly; with ``other``, another one where there is a choice."""
    made = ""
    for kind, value in nodes:
        if kind is op.LITERAL:
            made += chr(value)
        elif kind in (op.NOT_LITERAL, op.ANY):
            made += "a"
        elif kind is op.IN:
            made += _member(value, other=other)
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            made += _sample(list(value[2]), other=other) * max(value[0], 1 if value[1] and not other else 0)
        elif kind is op.SUBPATTERN:
            made += _sample(list(value[-1]), other=other)
        elif kind is op.ATOMIC_GROUP:
            made += _sample(list(value), other=other)
        elif kind is op.BRANCH:
            made += _sample(list(value[1][-1 if other else 0]), other=other)
    return made


def _member(members: list[Any], *, other: bool) -> str:
    if members[0][0] is op.NEGATE:
        refused = re.compile("[" + "".join(re.escape(_one(member)) for member in members[1:]) + "]")
        return next((char for char in ("b-" if other else "a ") if not refused.match(char)), "é")
    return _one(members[-1 if other else 0])


def _one(member: Any) -> str:
    kind, value = member
    if kind is op.RANGE:
        return chr(value[0])
    return _CATEGORY.get(value, "a") if kind is op.CATEGORY else chr(value)


# --- Time -------------------------------------------------------------------------------------------------------------


def spent(work: Callable[[], object]) -> float:
    """Seconds of processor time of this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def slowest(one: Found, length: int, patience: float) -> tuple[float, str]:
    """The worst time at this length, and the text. Grown from small ones, so that nothing hangs before it is noticed."""
    assert one.pattern is not None
    for small in (*(int(16 * 1.15**step) for step in range(24)), length):
        worst = (0.0, "")
        for text in attacks(one.pattern, small):
            worst = max(worst, (spent(lambda text=text: one.run(text)), text))  # type: ignore[misc]
            if worst[0] > patience:
                return worst
    return worst
