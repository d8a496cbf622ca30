"""snapshot(k) + events k+1..n = snapshot(n): as the published client makes it of ``{seq, type, data}``."""

from __future__ import annotations

from typing import Any

from clients.quorum_live import reduce_council as reduce
from clients.quorum_live import reduce_me
from clients.quorum_live import reduce_pack as _reduce_pack

__all__ = ["reduce", "reduce_me", "reduce_pack"]

Json = dict[str, Any]


def reduce_pack(snapshot: Json, events: list[Json]) -> Json:
    """Entries by id, for comparing: their order is their ``ordinal``."""
    built = _reduce_pack(snapshot, events)
    return {**built, "entries": sorted(built["entries"], key=lambda entry: str(entry["id"]))}
