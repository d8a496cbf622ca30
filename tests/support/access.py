"""What the tests of who may do what share: every route that the URL configuration has, and what a request writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.urls import URLPattern, URLResolver, get_resolver

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

_WRITE = re.compile(
    r"\b(?:INSERT\s+INTO|(?<!FOR )(?<!KEY )(?<!DO )UPDATE|DELETE\s+FROM|TRUNCATE)\s+(?:ONLY\s+)?\"?(\w+)", re.IGNORECASE
)
_NOISE = {"accounts_loginsession"}  # a message for the next page, and the like


@dataclass(frozen=True)
class Route:
    """One pattern of the URL configuration. ``name`` is what ``reverse`` takes, "" for none; ``path`` is the pattern with its
    parameters as they are written; ``keys`` are their names."""

    name: str
    path: str
    keys: frozenset[str]
    pattern: URLPattern


def routes() -> list[Route]:
    return list(_walk(get_resolver(), "", "", frozenset()))


def _walk(resolver: URLResolver, path: str, namespace: str, keys: frozenset[str]) -> Iterator[Route]:
    for one in resolver.url_patterns:
        here, found = path + str(one.pattern), keys | _keys(one)
        if isinstance(one, URLResolver):
            inner = f"{namespace}{one.namespace}:" if one.namespace else namespace
            yield from _walk(one, here, inner, found)
        else:
            yield Route(f"{namespace}{one.name}" if one.name else "", here, found, one)


def _keys(one: Any) -> frozenset[str]:
    regex = getattr(one.pattern, "_regex", None)
    return frozenset(one.pattern.converters) | frozenset(re.compile(regex).groupindex if regex else ())


@contextmanager
def writes() -> Iterator[set[str]]:
    """The tables that statements inside write to, also when that is taken back later."""
    tables: set[str] = set()

    def watch(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        tables.update(set(_WRITE.findall(str(sql))) - _NOISE)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield tables
