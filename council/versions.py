"""Which state of a council its snapshot shows, asked by one statement: the keys of ``accounts.caching``.

Whatever a snapshot shows changes with an event (the suite holds every council to that: a snapshot and the events after it give the
next one), and an event updates the session's row. What changes without one is named besides: usage, which is in the budget's row;
packs that were purged, and with them the entries of cited revisions; people who were deleted, and turns that others were copied from.
``xmin`` is the number of the transaction that wrote a row, so that a row restored from a backup is not taken for the one that it
replaced. What a snapshot looks like at all is part of the version too: a new release does not show bodies of the old one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from accounts import caching
from accounts.caching import Version
from council import sql
from council.event_types import SessionSnapshot
from council.states import SessionStatus
from realtime.errors import NotFound

MOVING_S: Final = 5  # a council that runs has a new version several times a second

_VERSION = """
    SELECT session.status, session.last_seq, session.xmin::text, budget.xmin::text,
        (SELECT string_agg(pin.id || '.' || pin.xmin, ' ' ORDER BY pin.id)
         FROM council_councilsession_packs AS pin WHERE pin.councilsession_id = session.id),
        (SELECT count(revision.entry_id)
         FROM council_run AS run JOIN council_decision AS decision ON decision.run_id = run.id
         JOIN council_citation AS citation ON citation.decision_id = decision.id
         JOIN knowledge_entryrevision AS revision ON revision.id = citation.revision_id
         WHERE run.session_id = session.id),
        (SELECT count(author_id) FROM council_message WHERE session_id = session.id),
        (SELECT count(person_id) || '.' || count(copied_from_id) FROM council_turn WHERE session_id = session.id)
    FROM council_councilsession AS session LEFT JOIN council_budget AS budget ON budget.session_id = session.id
    WHERE session.id = %(session)s AND (%(owner)s::uuid IS NULL OR session.owner_id = %(owner)s::uuid)
"""


def version(session_id: UUID, owner: UUID | None = None) -> Version:
    """With ``owner``, only of a session of theirs. Raises ``NotFound``."""
    found = sql.row(_VERSION, {"session": session_id, "owner": owner})
    if found is None:
        raise NotFound("There is no such council session.")
    state = hashlib.blake2b(json.dumps([_shape(), *found]).encode(), digest_size=12).hexdigest()
    seconds = MOVING_S if found[0] == SessionStatus.RUNNING else settings.OBJECT_CACHE_S
    return Version(f"{session_id}:{state}", seconds)


@cache
def _shape() -> str:
    described = json.dumps(SessionSnapshot.model_json_schema(), sort_keys=True)
    return hashlib.blake2b(described.encode(), digest_size=8).hexdigest()


def current(kind: str, session_id: UUID, body: Callable[[], Any], owner: UUID | None = None) -> Any:
    """``accounts.caching.current`` of a body that shows what the session's snapshot shows, or less. Raises ``NotFound``."""
    return caching.current(kind, partial(version, session_id, owner), body)


def at_this_moment(kind: str, session_id: UUID, body: Callable[[], Any]) -> Any:
    """``accounts.caching.at_this_moment``, likewise."""
    return caching.at_this_moment(kind, partial(version, session_id), body)
