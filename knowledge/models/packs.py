"""Packs, who may use them, and their event log."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from knowledge.states import PACK_TRANSITIONS, PackStatus
from realtime.ids import uuid7
from realtime.models import Event, Stream
from realtime.states import one_of, state_machine

TITLE_MAX = 200
TAG_MAX = 50


class Visibility(models.TextChoices):
    PRIVATE = "private"
    PUBLIC = "public"


class Language(models.TextChoices):
    """Text search configurations that every supported PostgreSQL has; migration 0001 makes ``quorum_<language>`` of each, which
    folds accents before stemming."""

    SIMPLE = "simple"
    ARABIC = "arabic"
    ARMENIAN = "armenian"
    BASQUE = "basque"
    CATALAN = "catalan"
    DANISH = "danish"
    DUTCH = "dutch"
    ENGLISH = "english"
    FINNISH = "finnish"
    FRENCH = "french"
    GERMAN = "german"
    GREEK = "greek"
    HINDI = "hindi"
    HUNGARIAN = "hungarian"
    INDONESIAN = "indonesian"
    IRISH = "irish"
    ITALIAN = "italian"
    LITHUANIAN = "lithuanian"
    NEPALI = "nepali"
    NORWEGIAN = "norwegian"
    PORTUGUESE = "portuguese"
    ROMANIAN = "romanian"
    RUSSIAN = "russian"
    SERBIAN = "serbian"
    SPANISH = "spanish"
    SWEDISH = "swedish"
    TAMIL = "tamil"
    TURKISH = "turkish"
    YIDDISH = "yiddish"


class Role(models.TextChoices):
    """What a person may do with a pack, from least to most. Owners are named by the pack itself, the public by its visibility."""

    VIEWER = "viewer"  # read and search
    EDITOR = "editor"  # and change the pack and its entries
    OWNER = "owner"  # and share, transfer and delete it


class KnowledgePack(Stream):
    """A curated, searchable body of text; the owner row of its event log. Every writer of a pack or its entries locks this row
    first (``FOR NO KEY UPDATE``), then entries."""

    names_actor = True

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="knowledge_packs", db_index=False
    )
    name = models.CharField(max_length=TITLE_MAX)
    description = models.TextField(max_length=4000, blank=True)
    visibility = models.CharField(max_length=8, choices=Visibility, default=Visibility.PRIVATE)
    status = models.CharField(max_length=8, choices=PackStatus, default=PackStatus.DRAFT)
    tags = ArrayField(models.CharField(max_length=TAG_MAX), default=list, blank=True)
    language = models.CharField(max_length=16, choices=Language, default=Language.ENGLISH)
    lexical_weight = models.FloatField(default=0.3)
    version = models.PositiveIntegerField(default=1, editable=False)  # the ETag: people's edits of the pack itself
    index_epoch = models.BigIntegerField(default=0, editable=False)  # any change of what a search may return
    entry_count = models.PositiveIntegerField(default=0, editable=False)
    # BM25 statistics: N, the sum of document lengths, and the average length that the stored weights were computed with.
    passage_count = models.PositiveIntegerField(default=0, editable=False)
    passage_length = models.BigIntegerField(default=0, editable=False)
    weighted_avgdl = models.FloatField(default=0.0, editable=False)
    weighted_entry_avgdl = models.FloatField(default=0.0, editable=False)  # the same, of whole entries
    # While weights are brought to those averages: the last passage that has them. Null when all have.
    reweigh_cursor = models.UUIDField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    deleted_from = models.CharField(
        max_length=8, choices=PackStatus, blank=True, editable=False
    )  # what a restore gives back
    forked_from = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="forks", editable=False
    )
    embedding = models.ForeignKey(  # null: the model that the settings name
        "EmbeddingModel", null=True, blank=True, on_delete=models.PROTECT, related_name="packs"
    )
    gate_publishing = models.FloatField(
        null=True, blank=True
    )  # nDCG@10 of the golden questions below which nothing is published

    class Meta:
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="pack_owner_created"),
            models.Index(fields=["id"], name="pack_reweigh_queue", condition=Q(reweigh_cursor__isnull=False)),
        ]
        constraints = [
            one_of("pack_status_known", "status", PackStatus.values),
            one_of("pack_visibility_known", "visibility", Visibility.values),
            one_of("pack_language_known", "language", Language.values),
            models.CheckConstraint(
                condition=Q(lexical_weight__gte=0) & Q(lexical_weight__lte=1), name="pack_lexical_weight_range"
            ),
            models.CheckConstraint(
                condition=Q(status="deleted", deleted_at__isnull=False)
                | (~Q(status="deleted") & Q(deleted_at__isnull=True)),
                name="pack_deleted_has_time",
            ),
        ]
        triggers = [state_machine("pack_status_fsm", PACK_TRANSITIONS)]

    def __str__(self) -> str:
        return self.name

    @property
    def text_config(self) -> str:
        """Name of the accent-folding text search configuration."""
        return f"quorum_{self.language}"


class PackShare(models.Model):
    """A person who may use somebody else's pack."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="shares", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="pack_shares")
    role = models.CharField(max_length=6, choices=[(role.value, role.label) for role in (Role.VIEWER, Role.EDITOR)])
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            one_of("share_role_known", "role", [Role.VIEWER, Role.EDITOR]),
            models.UniqueConstraint(fields=["pack", "user"], name="share_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.pack}"


class PackEvent(Event):
    """One committed change of a pack. Written by ``realtime.log.append`` alone."""

    pk = models.CompositePrimaryKey("stream_id", "seq")
    stream = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="events", db_index=False)

    def __str__(self) -> str:
        return f"{self.seq}: {self.type}"
