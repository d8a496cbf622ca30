"""Every event that webhooks tell of, and its message: thin and stable, ids and states and no content, so that it can be sent late, twice
and out of order, and a receiver that wants more asks the API, which asks who they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.conf import settings

from accounts.models import UserEvent
from accounts.webhooks import subjects
from realtime.times import rfc3339

Json = dict[str, Any]

KINDS: Final[Mapping[str, str]] = {
    "session.created": "a council was convened",
    "session.started": "a run of it began",
    "session.paused": "its owner stopped the clock",
    "session.resumed": "its owner started the clock",
    "session.completed": "the run ended by itself: there is a decision",
    "session.failed": "the run failed; `reason` says why",
    "session.stopped": "somebody stopped the run",
    "session.archived": "it was put away",
    "pack.created": "a pack of one's own, or one that one works with, is there",
    "pack.updated": "it has another name, status or visibility",
    "pack.published": "a snapshot of it was published; `snapshot` is its id",
    "pack.import_finished": "an import into it ended; `import` has its id and status",
    "pack.shared": "one has a role in it, or another one",
    "pack.unshared": "it is not shared with one any more",
    "pack.deleted": "it went to the trash",
    "pack.restored": "it is back from the trash",
    "pack.purged": "it was deleted for good; to its owner alone",
}
ALL: Final = ("session.*", "pack.*")
CHOICES: Final = (*ALL, *KINDS)
TEST: Final = "webhook.test"
TYPES: Final = (*KINDS, TEST)
# Whoever hears these has lost the pack, and they say no more than its id.
_OF_WHAT_IS_GONE: Final = frozenset({"pack.unshared", "pack.deleted", "pack.purged"})
_SESSION: Final = ("status", "reason", "created_at", "started_at", "finished_at")
_PACK: Final = ("status", "visibility", "role")


def wanted(chosen: Iterable[str]) -> list[str]:
    """The types that an endpoint is told of."""
    wanted = set(chosen)
    return [kind for kind in KINDS if kind in wanted or f"{kind.partition('.')[0]}.*" in wanted]


def message(event: UserEvent) -> Json:
    """The body: ``{type, timestamp, data}``; ``data`` has ``id`` and ``url`` and what state it is in."""
    about, payload = event.type.partition(".")[0], event.payload
    pk = payload[about]["id"]
    more: Json = {name: payload[about][name] for name in (*_SESSION, *_PACK) if name in payload[about]}
    if "snapshot" in payload:
        more["snapshot"] = payload["snapshot"]["id"]
    if "job" in payload:
        more["import"] = payload["job"]
    url = f"{settings.PUBLIC_URL}{subjects.path(about, pk)}"
    return {"type": event.type, "timestamp": rfc3339(event.created_at), "data": {"id": pk, "url": url, **more}}


def is_of_what_is_gone(kind: str) -> bool:
    return kind in _OF_WHAT_IS_GONE


def table() -> str:
    """As Markdown, for ``docs/webhooks.md``."""
    return "\n".join(["| type | when |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in KINDS.items())])
