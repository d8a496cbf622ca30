"""The narrow tables that search reads.

Search rows are split into three tables because layout decides more than the formula: a tsvector beside a vector passes 2 kB and
is TOASTed, so every rank call would fetch it again (75 ms against 18 when split).
"""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from pgvector.django import HalfVectorField, SparseVectorField

from knowledge.models.entries import Entry, EntryRevision
from knowledge.models.packs import KnowledgePack
from realtime.ids import uuid7
from realtime.states import one_of

# Keys of sparse BM25 vectors: hashtext() folded to 29 bits, for pgvector allows a billion dimensions (RETRIEVAL.md).
LEXEME_DIMENSIONS = 2**29


class AnnState(models.TextChoices):
    NONE = "none"
    BUILDING = "building"
    READY = "ready"
    DISTRUSTED = "distrust"  # its sampled recall was too low: searches are exact again


class Provider(models.TextChoices):
    BUILTIN = "builtin"  # MiniLM in this process
    OPENAI = "openai"  # any server that speaks OpenAI's /embeddings


class EmbeddingModel(models.Model):
    """A model that packs may choose for their vectors. Keys are not stored: ``api_key_env`` names an environment variable."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.SlugField(max_length=60, unique=True)
    provider = models.CharField(max_length=8, choices=Provider, default=Provider.OPENAI)
    base_url = models.URLField(max_length=300, blank=True)
    api_key_env = models.CharField(max_length=80, blank=True)
    model = models.CharField(max_length=200)
    dimension = models.PositiveIntegerField()
    send_dimension = models.BooleanField(default=False)  # for models that can shorten their vectors
    batch_size = models.PositiveIntegerField(default=64)  # texts in one request
    batch_chars = models.PositiveIntegerField(default=100_000)  # characters in one request
    query_prefix = models.CharField(max_length=200, blank=True)
    passage_prefix = models.CharField(max_length=200, blank=True)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            one_of("embedding_provider_known", "provider", Provider.values),
            models.CheckConstraint(
                condition=Q(dimension__gte=1, dimension__lte=4000), name="embedding_dimension_range"
            ),
            models.CheckConstraint(
                condition=Q(batch_size__gte=1, batch_chars__gte=1000), name="embedding_batch_limits"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SpaceState(models.TextChoices):
    FUTURE = "future"  # being filled; not searched
    PRESENT = "present"  # searched
    PAST = "past"  # kept until dropped


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
    # False: of a revision that only snapshots still show. Its tsvector carries the pack's other mark, so no gate finds it by chance.
    live = models.BooleanField(default=True)

    class Meta:
        indexes = [GinIndex(fields=["tsv"], name="passage_tsv_gin", fastupdate=False)]

    def __str__(self) -> str:
        return f"words of {self.passage_id}"


class EntryLexical(models.Model):
    """A revision's words as one BM25 document: the sum of its passages. Entries are ranked by these, for BM25 by the best passage
    alone misses terms that stand apart. Belongs to the revision's first passage and goes with it (also in the database)."""

    passage = models.OneToOneField(  # the migration adds the constraint, with the database's own ON DELETE CASCADE
        Passage, on_delete=models.CASCADE, primary_key=True, related_name="+", db_constraint=False
    )
    revision = models.OneToOneField(EntryRevision, on_delete=models.CASCADE, related_name="+")
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="+")
    bm = SparseVectorField(dimensions=LEXEME_DIMENSIONS)

    def __str__(self) -> str:
        return f"words of {self.revision_id}"


class EmbeddingSpace(models.Model):
    """Vectors of one model, dimension and chunker, for one pack. At most one space of a pack is searched at a time."""

    id = models.BigAutoField(primary_key=True)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="spaces", db_index=False)
    model = models.CharField(max_length=200)
    dimension = models.PositiveIntegerField()
    chunker_version = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=8, choices=SpaceState, default=SpaceState.PRESENT)
    embedding = models.ForeignKey(  # null: the model that the settings name
        "EmbeddingModel", null=True, blank=True, on_delete=models.PROTECT, related_name="spaces"
    )
    error = models.TextField(blank=True)  # why filling it does not get on
    # Filling it: passages that have a vector, of how many, how many a second, and the last one of this pass.
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    rate = models.FloatField(default=0.0)
    cursor = models.UUIDField(null=True)
    attempt = models.PositiveSmallIntegerField(default=0)  # failures in a row
    lease_token = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    available_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)  # when progress was last written to the pack's log
    retired_at = models.DateTimeField(null=True)  # since when it is past
    # The partial HNSW index of a large space.
    ann_state = models.CharField(max_length=8, choices=AnnState, default=AnnState.NONE)
    ann_recall = models.FloatField(null=True)  # of the last sample against exact search
    ann_sampled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            one_of("space_state_known", "state", SpaceState.values),
            one_of("space_ann_state_known", "ann_state", AnnState.values),
            models.UniqueConstraint(fields=["pack"], condition=Q(state="present"), name="space_one_present"),
            models.UniqueConstraint(fields=["pack"], condition=Q(state="future"), name="space_one_future"),
            models.CheckConstraint(condition=Q(dimension__gte=1, dimension__lte=4000), name="space_dimension_range"),
        ]
        indexes = [models.Index(fields=["pack"], name="space_pack")]

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
    live = models.BooleanField(default=True)  # see PassageLexical.live

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
