"""Published states of a pack: labelled sets of revisions that councils pin and search."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from knowledge.models.entries import Entry, EntryRevision
from knowledge.models.packs import KnowledgePack
from realtime.ids import uuid7


class Snapshot(models.Model):
    """What a pack said at one moment. Never changes; its statistics are those of that moment."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="snapshots", db_index=False)
    label = models.CharField(max_length=60)
    note = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    entry_count = models.PositiveIntegerField()
    passage_count = models.PositiveIntegerField()
    content_hash = models.CharField(max_length=64)  # of the revisions' hashes in order

    class Meta:
        constraints = [models.UniqueConstraint(fields=["pack", "label"], name="snapshot_label_unique")]

    def __str__(self) -> str:
        return f"{self.pack} {self.label}"


class SnapshotEntry(models.Model):
    pk = models.CompositePrimaryKey("snapshot_id", "revision_id")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="entries", db_index=False)
    revision = models.ForeignKey(EntryRevision, on_delete=models.RESTRICT, related_name="snapshot_entries")
    entry = models.ForeignKey(Entry, null=True, on_delete=models.SET_NULL, related_name="+")
    ordinal = models.PositiveIntegerField()

    class Meta:
        verbose_name_plural = "snapshot entries"

    def __str__(self) -> str:
        return f"{self.revision_id} in {self.snapshot_id}"


class SnapshotTerm(models.Model):
    """Document frequencies of a snapshot, as ``TermStats`` of a pack."""

    pk = models.CompositePrimaryKey("snapshot_id", "lexeme")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="+", db_index=False)
    lexeme = models.TextField()
    df = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.lexeme}: {self.df}"
