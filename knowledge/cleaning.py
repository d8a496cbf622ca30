"""What knowledge leaves behind: trash whose time is up, old searches, files of imports that are over.

Trashed packs are purged by steps of many tables, so a pack counts when its row is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from knowledge.imports import files
from knowledge.quality import searches
from knowledge.services import purging, trash
from realtime.cleaning import Cleaning, in_turn, rows

PURGE_S: Final = 1.0  # of a pack's purge in one slice


def _kept_since() -> datetime:
    return timezone.now() - timedelta(days=settings.TRASH_DAYS)


def _purge_entries() -> Iterator[int]:
    packs = trash.purgeable(_kept_since()).values_list("pack", flat=True).distinct()
    return in_turn(list(packs), lambda pack_id: trash.purge_trash(pack_id, _kept_since()))


def _purge_pack(pack_id: UUID) -> Iterator[int]:
    while purging.is_due(pack_id):
        more = purging.purge(pack_id, time.monotonic() + PURGE_S)
        yield int(not more)


def _remove_files() -> Iterator[int]:
    return (int(files.remove_orphan(path)) for path in files.orphans())


ENTRIES = Cleaning(lambda: trash.purgeable(_kept_since()).count(), _purge_entries)
PACKS = Cleaning(lambda: len(purging.due()), lambda: in_turn(purging.due(), _purge_pack))
SEARCHES = rows(searches.outdated)
FILES = Cleaning(lambda: len(files.orphans()), _remove_files)
