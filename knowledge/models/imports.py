"""Imports: a file or a list of addresses on its way to becoming entries."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from knowledge.models.entries import Entry
from knowledge.models.packs import KnowledgePack
from knowledge.states import IMPORT_TRANSITIONS, ImportStatus, ItemStatus
from realtime.ids import uuid7
from realtime.states import one_of, state_machine


class Import(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="imports", db_index=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    status = models.CharField(max_length=10, choices=ImportStatus, default=ImportStatus.QUEUED)
    dry_run = models.BooleanField(default=False)  # stop after the plan, until it is committed
    on_duplicate = models.CharField(max_length=6, default="skip")
    filename = models.CharField(max_length=255, blank=True)
    media_type = models.CharField(max_length=100, blank=True)
    size = models.BigIntegerField(default=0)  # bytes
    path = models.CharField(
        max_length=300, blank=True
    )  # of the uploaded bytes under DATA_DIR/imports; "" once they are gone
    urls = models.JSONField(default=list, blank=True)
    options = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["pack", "-created_at", "-id"], name="import_pack_created"),
            models.Index(
                fields=["status"],
                name="import_queue",
                condition=Q(status__in=[ImportStatus.QUEUED, ImportStatus.READING, ImportStatus.WRITING]),
            ),
        ]
        constraints = [
            one_of("import_status_known", "status", ImportStatus.values),
            one_of("import_on_duplicate_known", "on_duplicate", ["skip", "update", "fail"]),
        ]
        triggers = [state_machine("import_status_fsm", IMPORT_TRANSITIONS)]

    def __str__(self) -> str:
        return self.filename or f"{len(self.urls)} addresses"


class ImportItem(models.Model):
    """One prospective entry of an import: what it will be, and what became of it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    job = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="items", db_index=False)
    ordinal = models.PositiveIntegerField()
    source = models.CharField(max_length=1000)  # path inside the archive, line, or address
    status = models.CharField(max_length=9, choices=ItemStatus, default=ItemStatus.PLANNED)
    planned = models.CharField(max_length=9, blank=True)  # what committing would do: created, updated, unchanged
    draft = models.JSONField(default=dict, blank=True)  # an EntryDraft; emptied once it is written
    diff = models.JSONField(default=dict, blank=True)  # of a planned update: which fields, how many lines
    error = models.TextField(blank=True)
    entry = models.ForeignKey(Entry, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "ordinal"], name="import_item_ordinal"),
            one_of("import_item_status_known", "status", ItemStatus.values),
        ]

    def __str__(self) -> str:
        return self.source
