"""How moments are written."""

from __future__ import annotations

from datetime import datetime


def rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
