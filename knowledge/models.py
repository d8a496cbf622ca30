"""Packs of curated text, their immutable revisions, and the narrow tables that search reads.

Search rows are split into three tables because layout decides more than the formula: a tsvector beside a vector passes 2 kB and
is TOASTed, so every rank call would fetch it again (75 ms against 18 when split).
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from pgtrigger import F as TriggerF
from pgtrigger import Protect, ReadOnly, Update
from pgtrigger import Q as TriggerQ
from pgvector.django import HalfVectorField, SparseVectorField

from knowledge.states import INDEX_TRANSITIONS, PACK_TRANSITIONS, IndexStatus, PackStatus
from realtime.ids import uuid7
from realtime.models import Event, Stream
from realtime.states import one_of, state_machine

__all__ = [
    "EmbeddingSpace",
    "Entry",
    "EntryRevision",
    "IndexStatus",
    "KnowledgePack",
    "Language",
    "PackEvent",
    "PackStatus",
    "Passage",
    "PassageLexical",
    "PassageVector",
    "SpaceState",
    "TermStats",
    "Visibility",
]

TITLE_MAX = 200
TAG_MAX = 50
# Keys of sparse BM25 vectors: hashtext() folded to 29 bits, for pgvector allows a billion dimensions (RETRIEVAL.md).
LEXEME_DIMENSIONS = 2**29


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


class SpaceState(models.TextChoices):
    FUTURE = "future"  # being filled; not searched
    PRESENT = "present"  # searched
    PAST = "past"  # kept until dropped


class KnowledgePack(Stream):
    """A curated, searchable body of text; the owner row of its event log. Every writer of a pack or its entries locks this row
    first (``FOR NO KEY UPDATE``), then entries."""

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
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        indexes = [models.Index(fields=["owner", "-created_at", "-id"], name="pack_owner_created")]
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
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name_plural = "entries"
        indexes = [
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


class Passage(models.Model):
    """A piece of a revision, the unit of search: ``text == revision.content[start:end]``, in characters (code points)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    revision = models.ForeignKey(EntryRevision, on_delete=models.CASCADE, related_name="passages", db_index=False)
    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, related_name="passages")
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="+")
    chunker_version = models.PositiveSmallIntegerField()
    ordinal = models.PositiveIntegerField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    heading = models.CharField(max_length=500, blank=True)  # "section › subsection" that the passage stands under
    text = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["revision", "chunker_version", "ordinal"], name="passage_ordinal_unique"),
            models.CheckConstraint(condition=Q(start__lt=F("end")), name="passage_span_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.heading or 'passage'} [{self.start}:{self.end}]"


class PassageLexical(models.Model):
    """A passage's words: for GIN (with a lexeme that names the pack) and as sparse BM25 document weights."""

    passage = models.OneToOneField(Passage, on_delete=models.CASCADE, primary_key=True, related_name="lexical")
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="+")
    tsv = SearchVectorField()
    bm = SparseVectorField(dimensions=LEXEME_DIMENSIONS)
    dl = models.PositiveIntegerField()  # document length in lexeme positions

    class Meta:
        indexes = [GinIndex(fields=["tsv"], name="passage_tsv_gin", fastupdate=False)]

    def __str__(self) -> str:
        return f"words of {self.passage_id}"


class EmbeddingSpace(models.Model):
    """Vectors of one model, dimension and chunker, for one pack. At most one space of a pack is searched at a time."""

    id = models.BigAutoField(primary_key=True)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="spaces", db_index=False)
    model = models.CharField(max_length=200)
    dimension = models.PositiveIntegerField()
    chunker_version = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=8, choices=SpaceState, default=SpaceState.PRESENT)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            one_of("space_state_known", "state", SpaceState.values),
            models.UniqueConstraint(fields=["pack", "model", "dimension", "chunker_version"], name="space_unique"),
            models.UniqueConstraint(fields=["pack"], condition=Q(state="present"), name="space_one_present"),
            models.CheckConstraint(condition=Q(dimension__gte=1, dimension__lte=4000), name="space_dimension_range"),
        ]

    def __str__(self) -> str:
        return f"{self.model} ({self.dimension})"


class PassageVector(models.Model):
    """A passage's unit vector in one space. The column is untyped, so that spaces of any dimension share the table; its storage is
    PLAIN (an exact scan of 100k: 45 ms against 234 through TOAST)."""

    pk = models.CompositePrimaryKey("space_id", "passage_id")
    space = models.ForeignKey(EmbeddingSpace, on_delete=models.CASCADE, related_name="vectors", db_index=False)
    passage = models.ForeignKey(Passage, on_delete=models.CASCADE, related_name="vectors")
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="+")
    embedding = HalfVectorField()

    def __str__(self) -> str:
        return f"vector of {self.passage_id} in {self.space_id}"


class TermStats(models.Model):
    """In how many passages of a pack a lexeme stands: BM25's document frequency, and the dictionary for typos."""

    pk = models.CompositePrimaryKey("pack_id", "lexeme")
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="+", db_index=False)
    lexeme = models.TextField()
    df = models.PositiveIntegerField()

    class Meta:
        verbose_name_plural = "term statistics"
        indexes = [GinIndex(fields=["lexeme"], name="term_lexeme_trgm", opclasses=["gin_trgm_ops"], fastupdate=False)]

    def __str__(self) -> str:
        return f"{self.lexeme}: {self.df}"


class PackEvent(Event):
    """One committed change of a pack. Written by ``realtime.log.append`` alone."""

    pk = models.CompositePrimaryKey("stream_id", "seq")
    stream = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="events", db_index=False)

    def __str__(self) -> str:
        return f"{self.seq}: {self.type}"
