"""Every change of packs and entries. The API, the admin, tasks and the console all call these; nothing else writes.

Each function locks the pack's row first (then entries), changes rows and appends the events of that change in one transaction;
nudges go out after the commit. Work on text (checking, cutting) is done before the transaction begins.
"""

from knowledge.services.entries import (
    add_entries,
    add_entry,
    delete_entry,
    retry_indexing,
    revise_entry,
    set_entry_enabled,
)
from knowledge.services.forking import fork
from knowledge.services.locking import locked_entry, locked_pack, request_indexing
from knowledge.services.packs import PACK_FIELDS, create_pack, delete_pack, restore_pack, update_pack
from knowledge.services.sharing import change_role, share, transfer, unshare
from knowledge.services.snapshots import delete_snapshot, publish

__all__ = [
    "PACK_FIELDS", "add_entries", "add_entry", "change_role", "create_pack", "delete_entry", "delete_pack", "delete_snapshot",
    "fork", "locked_entry", "locked_pack", "publish", "request_indexing", "restore_pack", "retry_indexing", "revise_entry",
    "set_entry_enabled", "share", "transfer", "unshare", "update_pack",
]  # fmt: skip
