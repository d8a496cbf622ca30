"""Entries and their immutable revisions."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from pgtrigger import F as TriggerF
from pgtrigger import Protect, ReadOnly, Update
from pgtrigger import Q as TriggerQ

from knowledge.models.packs import TAG_MAX, TITLE_MAX, KnowledgePack, Language
from knowledge.states import INDEX_TRANSITIONS, IndexStatus
from realtime.ids import uuid7
from realtime.states import one_of, state_machine


class Entry(models.Model):
    """One document of a pack. Title, content and their history live in revisions; the title is repeated here for lists."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="entries", db_index=False)
    # Not null although revision and entry point at each other: foreign keys are checked at commit.
    revision = models.ForeignKey("EntryRevision", on_delete=models.RESTRICT, related_name="+", editable=False)
    revision_number = models.PositiveIntegerField(default=1, editable=False)  # of that revision, for lists
    title = models.CharField(max_length=TITLE_MAX)
    tags = ArrayField(models.CharField(max_length=TAG_MAX), default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    source_url = models.CharField(max_length=2000, null=True, blank=True)  # noqa: DJ001  # JSON null and "" differ for clients
    external_id = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001  # unique only when set
    ordinal = models.PositiveIntegerField(default=0, editable=False)  # place in the pack, in order of arrival
    content_hash = models.CharField(max_length=64, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    enabled = models.BooleanField(default=True)  # disabled entries stay but are never found
    index_status = models.CharField(
        max_length=8, choices=IndexStatus, default=IndexStatus.PENDING, editable=False, verbose_name="status"
    )
    index_error = models.TextField(blank=True, editable=False)
    attempt = models.PositiveSmallIntegerField(default=0, editable=False)
    lease_token = models.BigIntegerField(
        default=0, editable=False
    )  # fencing: the holder of an older token may not write
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    available_at = models.DateTimeField(null=True, editable=False)  # not claimed before (backoff after an error)
    language = models.CharField(max_length=16, choices=Language, blank=True)  # "" is the pack's
    reviewed_at = models.DateTimeField(null=True, blank=True)
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    review_by = models.DateField(null=True, blank=True)  # when somebody should look at it again
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name_plural = "entries"
        indexes = [
            models.Index(  # finds twins
                fields=["pack", "content_hash"], name="entry_content_hash", condition=Q(deleted_at__isnull=True)
            ),
            models.Index(fields=["pack", "ordinal"], name="entry_ordinal"),
            models.Index(fields=["pack", "-created_at", "-id"], name="entry_pack_created"),
            # An unprocessed row behind a partial index is the queue.
            models.Index(
                fields=["pack", "id"],
                name="entry_index_queue",
                condition=Q(index_status__in=[IndexStatus.PENDING, IndexStatus.INDEXING], deleted_at__isnull=True),
            ),
            models.Index(  # tells a search whether it must filter at all
                fields=["pack"], name="entry_disabled", condition=Q(enabled=False, deleted_at__isnull=True)
            ),
            models.Index(  # tells a search in which languages besides the pack's it must read the query
                fields=["pack", "language"], name="entry_language", condition=~Q(language="")
            ),
        ]
        constraints = [
            one_of("entry_index_status_known", "index_status", IndexStatus.values),
            models.UniqueConstraint(
                fields=["pack", "external_id"],
                condition=Q(external_id__isnull=False, deleted_at__isnull=True),
                name="entry_external_id_unique",
            ),
            models.CheckConstraint(
                condition=Q(index_status="indexing", lease_expires_at__isnull=False)
                | (~Q(index_status="indexing") & Q(lease_expires_at__isnull=True)),
                name="entry_lease_only_while_indexing",
            ),
        ]
        triggers = [state_machine("entry_index_fsm", INDEX_TRANSITIONS, "index_status")]

    def __str__(self) -> str:
        return self.title


_UNLINKED = ("entry", "author")  # may become null (purge of an entry, departure of a person), never anything else


class EntryRevision(models.Model):
    """What an entry said at one time. Immutable, so that a citation never rots."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    entry = models.ForeignKey(Entry, null=True, on_delete=models.CASCADE, related_name="revisions", db_index=False)
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=TITLE_MAX)
    content = models.TextField()
    content_hash = models.CharField(max_length=64)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["entry", "number"], name="revision_number_unique")]
        triggers = [
            ReadOnly(name="revision_immutable", exclude=list(_UNLINKED)),
            *(
                Protect(
                    name=f"revision_{field}_only_unlinked",
                    operation=Update,
                    condition=TriggerQ(**{f"old__{field}__df": TriggerF(f"new__{field}")})
                    & TriggerQ(**{f"new__{field}__isnull": False}),
                )
                for field in _UNLINKED
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} (revision {self.number})"
