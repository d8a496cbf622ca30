"""Every change of packs and entries. The API, the admin, tasks and the console all call these; nothing else writes.

Each function locks the pack's row first (then entries), changes rows and appends the events of that change in one transaction;
nudges go out after the commit. Work on text (checking, cutting) is done before the transaction begins.
"""

from knowledge.services.bulk import bulk_entries
from knowledge.services.entries import (
    add_entries,
    add_entry,
    retry_indexing,
    revert_entry,
    revise_entry,
    set_entry_enabled,
)
from knowledge.services.forking import fork
from knowledge.services.locking import locked_entry, locked_pack, request_indexing
from knowledge.services.order import reorder_entries
from knowledge.services.packs import PACK_FIELDS, create_pack, delete_pack, restore_pack, update_pack
from knowledge.services.quality import (
    EVALUATE_AT_ONCE,
    add_golden_question,
    change_golden_question,
    delete_golden_question,
    evaluable_at_once,
    evaluate,
    evaluate_or_queue,
    mark_reviewed,
    queue_evaluation,
)
from knowledge.services.sharing import change_role, share, transfer, unshare
from knowledge.services.snapshots import delete_snapshot, publish
from knowledge.services.spaces import (
    cancel_migration,
    choose_embedding,
    create_embedding_model,
    disable_embedding_model,
    reembed,
    update_embedding_model,
)
from knowledge.services.trash import delete_entry, purge_entries, purge_trash, restore_entry

__all__ = [
    "EVALUATE_AT_ONCE", "PACK_FIELDS", "add_entries", "add_entry", "add_golden_question", "bulk_entries",
    "cancel_migration", "change_golden_question", "change_role", "choose_embedding", "create_embedding_model",
    "create_pack", "delete_entry", "delete_golden_question", "delete_pack", "delete_snapshot",
    "disable_embedding_model", "evaluable_at_once", "evaluate", "evaluate_or_queue", "fork", "locked_entry", "locked_pack",
    "mark_reviewed", "publish", "purge_entries", "purge_trash", "queue_evaluation", "reembed", "reorder_entries", "request_indexing",
    "restore_entry", "restore_pack", "retry_indexing", "revert_entry", "revise_entry", "set_entry_enabled",
    "share", "transfer", "unshare", "update_embedding_model", "update_pack",
]  # fmt: skip
