"""Decisions that rest on what has changed since. Computed when it is asked for: an edit tells no council that cites the pack."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from accounts.models import User
from knowledge.selectors import Successor, successors

Json = dict[str, Any]


def superseded(owner: User, revisions: Collection[UUID | str]) -> dict[str, Successor]:
    """Those of the revisions that a council's owner would not read any more, with what took their place. One query."""
    wanted = {UUID(str(one)) for one in revisions}
    return {str(one): found for one, found in successors(owner, wanted).items()} if wanted else {}


def mark(owner: User, decision: Json) -> Json:
    """The decision with ``stale`` in each citation: null, or ``{revision, number, withdrawn}`` of what the entry says now."""
    cited = decision["citations"]
    gone = superseded(owner, {one["revision"] for one in cited if one["revision"]})
    marked = [{**one, "stale": _stale(gone.get(one["revision"] or ""))} for one in cited]
    return {**decision, "citations": marked}


def _stale(found: Successor | None) -> Json | None:
    if found is None:
        return None
    revision = str(found.revision) if found.revision else None
    return {"revision": revision, "number": found.number, "withdrawn": found.revision is None}
