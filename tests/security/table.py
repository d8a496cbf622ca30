"""The tables of who may do what, brought into one form: everything that can be asked of the API, and the owner's answer to it.

The tables themselves stand where their subjects do: packs in tests/knowledge/test_sharing_matrix.py, everything else in
tests/council/test_access_matrix.py. Both fail for a route that they do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.test import Client

from accounts.models import User
from realtime.ids import uuid7
from tests.council import test_access_matrix as councils
from tests.knowledge import test_sharing_matrix as packs
from tests.knowledge.shared_pack import WHO, Ids, World
from tests.support.access import routes


@dataclass(frozen=True)
class Ask:
    """One route and method. ``path`` and ``body`` are made of ids, ``before`` makes the request have something to do. ``who``: one who
    may, and is answered ``ok``."""

    name: str
    method: str
    path: Callable[[Ids], str]
    body: Callable[[Ids], Any]
    before: Callable[[World], object]
    who: str
    ok: int

    def __str__(self) -> str:
        return f"{self.method} {self.name}"

    @property
    def names_something(self) -> bool:
        """Whether the path has an id in it."""
        return any(route.keys for route in routes() if route.name == self.name)

    @property
    def names_something_in_a_pack(self) -> bool:
        return "pk" in self._keys and bool(self._keys - {"pk", "n"}) and (self.name, self.method) in packs.ROWS

    @property
    def _keys(self) -> frozenset[str]:
        return next(route.keys for route in routes() if route.name == self.name)


def asks() -> Iterator[Ask]:
    for (name, method), row in packs.ROWS.items():
        if not row.live:
            yield Ask(
                name,
                method,
                lambda ids, name=name, row=row: packs.address(name, ids) + row.query.format(**ids),  # type: ignore[misc]
                row.sent,
                lambda world, row=row: row.before(world.ids) if row.before else None,  # type: ignore[misc]
                "owner",
                row.ok,
            )
    for (name, method), own in councils.API.items():
        allowed = (who for who in ("viewer", *WHO) if own.expected(who, public=False, anonymous=401) == own.ok)
        if (who := next(allowed, None)) is None:
            continue  # for no key: tests/accounts
        yield Ask(
            name,
            method,
            lambda ids, name=name, row=own: councils.address(name, ids) + row.query(ids),  # type: ignore[misc]
            lambda ids, row=own: councils.jsonable(row.form(ids)),  # type: ignore[misc]
            own.before,
            who,
            own.ok,
        )


def unknown(ids: Ids) -> dict[str, Any]:
    """The same names, with ids that are nobody's."""
    return {name: uuid7() if isinstance(value, UUID) else value for name, value in ids.items()}


def signed_in(person: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def by_token(person: User) -> Client:
    """As an app: the token of a login session in a header."""
    return Client(headers={"X-Session-Token": signed_in(person).session.session_key or ""})


def send(client: Client, ask: Ask, ids: Ids, headers: Mapping[str, str] | None = None, body: Any = ...) -> Any:
    import json

    given = ask.body(ids) if body is ... else body
    data = b"" if not given or ask.method == "GET" else json.dumps(given).encode()
    return client.generic(ask.method, ask.path(ids), data, content_type="application/json", headers=headers or {})
