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
from knowledge.services.locking import locked_entry, locked_pack, request_indexing
from knowledge.services.packs import PACK_FIELDS, create_pack, delete_pack, update_pack
from knowledge.services.spaces import (
    cancel_migration,
    choose_embedding,
    create_embedding_model,
    disable_embedding_model,
    reembed,
    update_embedding_model,
)

__all__ = [
    "PACK_FIELDS", "add_entries", "add_entry", "cancel_migration", "choose_embedding", "create_embedding_model", "create_pack",
    "delete_entry", "delete_pack", "disable_embedding_model", "locked_entry", "locked_pack", "reembed", "request_indexing",
    "retry_indexing", "revise_entry", "set_entry_enabled", "update_embedding_model", "update_pack",
]  # fmt: skip
