"""What an API key may do. People with a login session may do all of it; a key only what its scopes say.

This is the one place that knows scopes and what they imply. Each API view declares what its methods need (``ApiView.scopes``), each
live stream what watching it needs (``StreamSource.scopes``); what is not declared is closed to keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    PACKS_READ = "packs:read"
    PACKS_WRITE = "packs:write"
    COUNCILS_READ = "councils:read"
    COUNCILS_RUN = "councils:run"
    ADMIN = "admin"


ALL: Final = tuple(Scope)
_IMPLIED: Final[Mapping[Scope, Collection[Scope]]] = {
    Scope.PACKS_WRITE: (Scope.PACKS_READ,),
    Scope.COUNCILS_RUN: (Scope.COUNCILS_READ,),
    Scope.ADMIN: ALL,
}
MEANINGS: Final[Mapping[Scope, str]] = {
    Scope.PACKS_READ: "read and search knowledge packs",
    Scope.PACKS_WRITE: "read and change knowledge packs",
    Scope.COUNCILS_READ: "read councils and their records",
    Scope.COUNCILS_RUN: "read, convene and run councils; on packs, with packs:read",
    Scope.ADMIN: "everything, and the keys themselves",
}


def granted(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes with those that they imply. ``ValueError`` for one that does not exist."""
    held = {Scope(name) for name in scopes}
    return frozenset(str(one) for scope in held for one in (scope, *_IMPLIED.get(scope, ())))


# --- What views declare -------------------------------------------------------------------------------------------------

# By method, the scopes that a key needs, all of them; None is for people alone, whatever a key may do. HEAD needs what GET needs.
Needs = Mapping[str, tuple[Scope, ...] | None]


def needs(read: tuple[Scope, ...] | None, write: tuple[Scope, ...] | None) -> Needs:
    return {"GET": read, "POST": write, "PUT": write, "PATCH": write, "DELETE": write}


PACKS: Final = needs((Scope.PACKS_READ,), (Scope.PACKS_WRITE,))
COUNCILS: Final = needs((Scope.COUNCILS_READ,), (Scope.COUNCILS_RUN,))
# One's own stream tells of councils and of packs.
NEWS: Final = needs((Scope.COUNCILS_READ, Scope.PACKS_READ), (Scope.COUNCILS_RUN, Scope.PACKS_READ))
ACCOUNT: Final = needs((Scope.ADMIN,), (Scope.ADMIN,))
ANY_KEY: Final = needs((), ())
PEOPLE: Final = needs(None, None)
