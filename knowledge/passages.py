"""Passages of entries: cut, stored with their words, taken away again. Callers hold the pack's row lock (except for ``cut``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from knowledge import chunking, minilm, retention, words
from knowledge.chunking import Chunk
from knowledge.models import Entry, EntryRevision, KnowledgePack, Passage
from realtime import nudge

# Beyond this, new BM25 weights for a whole pack are a task of their own (``reweighing``) and not part of somebody's request:
# long passages were measured at 2.6 ms each, most of it for the index of their words.
REWEIGH_AT_ONCE = 256


def cut(content: str) -> list[Chunk]:
    """Passages of a text, measured with the built-in model's tokenizer where it is installed. CPU work: not in a transaction."""
    return chunking.chunk(content, _counter())


@cache
def _counter() -> chunking.TokenCounter:
    return minilm.count_tokens if minilm.installed() else chunking.approximate_tokens


@dataclass(frozen=True, slots=True)
class Piece:
    """A new revision of an entry and how it is cut."""

    entry: Entry
    revision: EntryRevision
    chunks: Sequence[Chunk]


def store(pack: KnowledgePack, pieces: Sequence[Piece]) -> None:
    """Save the passages of entries that have none, and their words. A revision whose passages a snapshot has kept gets those."""
    kept = retention.revive([piece.revision.pk for piece in pieces], chunking.CHUNKER_VERSION) if pieces else set()
    Passage.objects.bulk_create(
        Passage(
            revision=piece.revision,
            entry=piece.entry,
            pack=pack,
            chunker_version=chunking.CHUNKER_VERSION,
            ordinal=ordinal,
            start=chunk.start,
            end=chunk.end,
            heading=chunk.heading,
            text=piece.revision.content[chunk.start : chunk.end],
        )
        for piece in pieces
        if piece.revision.pk not in kept
        for ordinal, chunk in enumerate(piece.chunks)
    )
    if pieces:
        words.add(pack, [piece.entry.pk for piece in pieces])


def discard(pack: KnowledgePack, entries: Sequence[Entry]) -> None:
    """Delete the entries' passages with their words and vectors; those that a snapshot pins are retired (``retention``)."""
    if not entries:
        return
    ids = [entry.pk for entry in entries]
    words.remove(pack, ids)
    retention.retire(ids)


def settle(pack: KnowledgePack) -> None:
    """After the last change of words in a transaction: keep the BM25 weights fresh, and outdate cached results. The caller saves
    ``STATISTICS``."""
    pack.index_epoch += 1
    if not words.drifted(pack):
        return
    words.aim(pack)
    if pack.passage_count <= REWEIGH_AT_ONCE:
        words.reweigh(pack)
        pack.reweigh_cursor = None
    else:
        nudge.send_task_on_commit("knowledge.tasks.reweigh_pack", [str(pack.pk)], "index")


STATISTICS = (
    "index_epoch", "passage_count", "passage_length", "weighted_avgdl", "weighted_entry_avgdl", "reweigh_cursor",
)  # fmt: skip


def text_to_embed(pack_name: str, title: str, heading: str, text: str) -> str:
    """The passage under ``pack › title › section``, shortened so that the passage itself still fits the model."""
    prefix = chunking.SEPARATOR.join(part for part in (pack_name, title, heading) if part)
    return f"{prefix[:PREFIX_CHARS]}\n{text}"


PREFIX_CHARS = 120  # about 30 tokens
