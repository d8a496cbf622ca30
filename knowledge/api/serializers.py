"""Shapes of requests (checked strictly) and of answers (documented; the JSON itself comes from ``knowledge.shapes``)."""

from __future__ import annotations

from typing import Any, get_args

from rest_framework import serializers

from knowledge import selectors, shapes
from knowledge.batch import Status
from knowledge.drafts import TAGS_MAX
from knowledge.models import (
    TAG_MAX,
    TITLE_MAX,
    Entry,
    EntryRevision,
    IndexStatus,
    KnowledgePack,
    Language,
    PackStatus,
    Role,
    Visibility,
)
from knowledge.ranking import Mode
from knowledge.search import Hit, SearchResult
from knowledge.services.bulk import ACTIONS
from realtime.times import rfc3339

DESCRIPTION_MAX = 4000
ITEMS_MAX = 500  # in one request
# Through PATCH; the trash is reached by DELETE.
OPEN_STATUSES = [status for status in PackStatus.values if status != PackStatus.DELETED]


class Text(serializers.CharField):
    """Text and nothing else: DRF's own field turns numbers into text."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Choice(serializers.ChoiceField):
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)


class Tags(serializers.ListField):
    child = Text(max_length=TAG_MAX)

    def to_internal_value(self, data: Any) -> list[str]:
        return list(dict.fromkeys(super().to_internal_value(data)))


class Ratio(serializers.FloatField):
    """A number from 0 to 1; DRF's own field reads text and truth values as numbers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, max_value=1, **options)

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float) or data != data:  # not a number
            self.fail("invalid")
        return super().to_internal_value(data)


class PackIn(serializers.Serializer[Any]):
    """The body of POST /api/knowledge-packs. Only ``name`` is required."""

    name = Text(max_length=TITLE_MAX)
    description = Text(max_length=DESCRIPTION_MAX, allow_blank=True, required=False, trim_whitespace=False)
    visibility = Choice(choices=Visibility.choices, required=False)
    tags = Tags(max_length=TAGS_MAX, required=False)
    language = Choice(choices=Language.choices, required=False)


class PackPatch(PackIn):
    """The body of PATCH: any of the fields, and ``status`` (``active`` or ``archived``, as the state machine allows)."""

    status = Choice(choices=OPEN_STATUSES, required=False)
    gate_publishing = Ratio(required=False, allow_null=True)


class StatsOut(serializers.Serializer[Any]):
    """Figures of a pack (``knowledge.stats``)."""

    entries = serializers.JSONField(help_text="{total, disabled, by_status}")
    passages = serializers.IntegerField()
    words = serializers.IntegerField(help_text="Lexemes with their repetitions, as search counts them")
    characters = serializers.IntegerField()
    tags = serializers.JSONField(help_text="The 50 most used: [{tag, entries}]")
    languages = serializers.JSONField(help_text="[{language, entries}]")
    spaces = serializers.JSONField(help_text="[{model, dimension, state, ann_state}]")
    searches = serializers.JSONField(help_text="{days, total, zero_result_share}")
    snapshots = serializers.IntegerField()
    gate_publishing = serializers.FloatField(allow_null=True)
    bytes = serializers.JSONField(help_text="{text, words, vectors}")


class PackOut(serializers.Serializer[KnowledgePack]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    visibility = serializers.ChoiceField(choices=Visibility.choices)
    status = serializers.ChoiceField(choices=PackStatus.choices)
    tags = serializers.ListField(child=serializers.CharField())
    language = serializers.ChoiceField(choices=Language.choices)
    gate_publishing = serializers.FloatField(allow_null=True, help_text="nDCG@10 below which nothing is published")
    version = serializers.IntegerField()
    entry_count = serializers.IntegerField()
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: KnowledgePack) -> dict[str, Any]:
        return {**shapes.pack_header(instance), "role": selectors.role_in(instance).value}


class EntryHeader(serializers.Serializer[Entry]):
    """One row of the list: the content is left out."""

    id = serializers.UUIDField()
    pack = serializers.UUIDField()
    title = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    metadata = serializers.JSONField()
    source_url = serializers.URLField(allow_null=True)
    external_id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=IndexStatus.choices)
    error = serializers.CharField(allow_null=True)
    enabled = serializers.BooleanField()
    revision = serializers.IntegerField()
    revision_id = serializers.UUIDField()
    content_hash = serializers.CharField()
    language = serializers.ChoiceField(choices=Language.choices, allow_blank=True, help_text="Empty: the pack's")
    ordinal = serializers.IntegerField(help_text="Place in the pack; there are gaps")
    version = serializers.IntegerField(help_text="The entity tag's number: people's edits of the entry")
    reviewed_at = serializers.DateTimeField(allow_null=True)
    review_by = serializers.DateField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: Entry) -> dict[str, Any]:
        return shapes.entry_header(instance)


class EntryOut(EntryHeader):
    content = serializers.CharField()

    def to_representation(self, instance: Entry) -> dict[str, Any]:
        return {**super().to_representation(instance), "content": instance.revision.content}


class TrashedEntry(EntryHeader):
    deleted_at = serializers.DateTimeField()

    def to_representation(self, instance: Entry) -> dict[str, Any]:
        deleted_at = instance.deleted_at and rfc3339(instance.deleted_at)
        return {**super().to_representation(instance), "deleted_at": deleted_at}


class FieldErrorOut(serializers.Serializer[Any]):
    pointer = serializers.CharField()
    detail = serializers.CharField()


class ItemOut(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    status = serializers.ChoiceField(choices=list(get_args(Status)))
    id = serializers.UUIDField(required=False, help_text="Of the entry; of its twin when skipped")
    code = serializers.CharField(required=False, help_text="duplicate or invalid, when it failed")
    errors = FieldErrorOut(many=True, required=False)  # type: ignore[assignment]  # a field; DRF's property stays what it is


class ItemsOut(serializers.Serializer[Any]):
    """What became of each entry of an array, in order."""

    results = ItemOut(many=True)


class Ids(serializers.ListField):
    child = serializers.UUIDField()


class BulkIn(serializers.Serializer[Any]):
    """``tags`` belong to tag and untag, ``to`` (a pack) to move."""

    action = Choice(choices=list(ACTIONS))
    ids = Ids(min_length=1, max_length=ITEMS_MAX)
    tags = Tags(min_length=1, max_length=TAGS_MAX, required=False)
    to = serializers.UUIDField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        needed = {"tag": "tags", "untag": "tags", "move": "to"}.get(attrs["action"])
        if needed and needed not in attrs:
            raise serializers.ValidationError({needed: f"The action {attrs['action']} needs it."})
        if spare := {"tags", "to"} & attrs.keys() - {needed}:
            raise serializers.ValidationError(dict.fromkeys(spare, f"The action {attrs['action']} has no use for it."))
        return attrs


class BulkItemOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=["updated", "unchanged", "failed"])
    code = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)


class BulkOut(serializers.Serializer[Any]):
    """What became of each id, in order; an id that was sent twice is answered once."""

    results = BulkItemOut(many=True)


class ReorderIn(serializers.Serializer[Any]):
    """Exactly one of ``before`` and ``after``: an entry's id, or null for the end (before) or the start (after) of the pack."""

    ids = Ids(min_length=1, max_length=ITEMS_MAX)
    before = serializers.UUIDField(required=False, allow_null=True)
    after = serializers.UUIDField(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("before" in attrs) == ("after" in attrs):
            raise serializers.ValidationError({"before": "Name either before or after."})
        return attrs


class PlaceOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    ordinal = serializers.IntegerField()


class ReorderOut(serializers.Serializer[Any]):
    """Every entry that has another ordinal now."""

    results = PlaceOut(many=True)


class PersonOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()


class RevisionHeader(serializers.Serializer[EntryRevision]):
    id = serializers.UUIDField()
    number = serializers.IntegerField()
    title = serializers.CharField()
    content_hash = serializers.CharField()
    author = PersonOut(allow_null=True)
    note = serializers.CharField()
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: EntryRevision) -> dict[str, Any]:
        return shapes.revision_header(instance)


class RevisionOut(RevisionHeader):
    content = serializers.CharField()

    def to_representation(self, instance: EntryRevision) -> dict[str, Any]:
        return {**super().to_representation(instance), "content": instance.content}


class LineOut(serializers.Serializer[Any]):
    op = serializers.ChoiceField(choices=[" ", "-", "+"])
    text = serializers.CharField(help_text="With its line end; the last line may have none")


class HunkOut(serializers.Serializer[Any]):
    """Lines count from 1; a side without lines starts at the line before."""

    old_start = serializers.IntegerField()
    old_lines = serializers.IntegerField()
    new_start = serializers.IntegerField()
    new_lines = serializers.IntegerField()
    lines = LineOut(many=True)


class TitleDiffOut(serializers.Serializer[Any]):
    old = serializers.CharField()
    new = serializers.CharField()


class ContentDiffOut(serializers.Serializer[Any]):
    hunks = HunkOut(many=True)
    unified = serializers.CharField(help_text="The same as diff -u writes it")
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    coarse = serializers.BooleanField(help_text="Too different to compare line by line: replaced whole")


class DiffOut(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    against = serializers.IntegerField(allow_null=True, help_text="Null: the first revision, against nothing")
    title = TitleDiffOut(allow_null=True, help_text="Null: unchanged")
    content = ContentDiffOut()


class PassageOut(serializers.Serializer[Any]):
    """``text`` is ``content[start:end]`` (code points) of the entry's named revision."""

    id = serializers.UUIDField()
    ordinal = serializers.IntegerField()
    start = serializers.IntegerField()
    end = serializers.IntegerField()
    heading = serializers.CharField()
    text = serializers.CharField()


class ScoresOut(serializers.Serializer[Any]):
    lexical = serializers.FloatField(allow_null=True, help_text="BM25")
    semantic = serializers.FloatField(allow_null=True, help_text="cosine")


class HitEntryOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    metadata = serializers.JSONField()
    source_url = serializers.URLField(allow_null=True)
    external_id = serializers.CharField(allow_null=True)
    revision = serializers.IntegerField()
    revision_id = serializers.UUIDField()


class HitPackOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class HitOut(serializers.Serializer[Any]):
    entry = HitEntryOut()
    pack = HitPackOut()
    score = serializers.FloatField()
    scores = ScoresOut()
    passage = PassageOut()
    highlight = serializers.CharField(help_text="HTML: escaped text with <mark>")
    more = serializers.IntegerField(help_text="Further passages of the same entry among the candidates")
    explain = serializers.JSONField(required=False)


class SearchOut(serializers.Serializer[Any]):
    query = serializers.CharField()
    mode = serializers.ChoiceField(choices=list(Mode))
    took_ms = serializers.FloatField()
    results = HitOut(many=True)
    explain = serializers.JSONField(required=False)


def hit_json(hit: Hit) -> dict[str, Any]:
    entry = {
        "id": str(hit.entry_id),
        "title": hit.title,
        "tags": hit.tags,
        "metadata": hit.metadata,
        "source_url": hit.source_url,
        "external_id": hit.external_id,
        "revision": hit.revision,
        "revision_id": str(hit.revision_id),
    }
    passage = {
        "id": str(hit.passage_id),
        "ordinal": hit.ordinal,
        "start": hit.start,
        "end": hit.end,
        "heading": hit.heading,
        "text": hit.text,
    }
    return {
        "entry": entry,
        "pack": {"id": str(hit.pack_id), "name": hit.pack_title},
        "score": hit.score,
        "scores": {"lexical": hit.lexical, "semantic": hit.semantic},
        "passage": passage,
        "highlight": hit.highlight,
        "more": hit.more,
        **({"explain": hit.explain} if hit.explain is not None else {}),
    }


def search_json(result: SearchResult) -> dict[str, Any]:
    return {
        "query": result.query,
        "mode": result.mode,
        "took_ms": result.took_ms,
        "results": [hit_json(hit) for hit in result.hits],
        **({"explain": result.explain} if result.explain is not None else {}),
    }
