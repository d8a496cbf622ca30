"""Shapes of requests (checked strictly) and of answers (documented; the JSON itself comes from ``knowledge.shapes``)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from knowledge import selectors, shapes
from knowledge.drafts import TAGS_MAX
from knowledge.models import (
    TAG_MAX,
    TITLE_MAX,
    Entry,
    IndexStatus,
    KnowledgePack,
    Language,
    PackStatus,
    Role,
    Visibility,
)
from knowledge.ranking import Mode
from knowledge.search import Hit, SearchResult

DESCRIPTION_MAX = 4000
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
    gate_publishing = serializers.FloatField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=1,
        help_text="nDCG@10 of the golden questions below which nothing is published; null for no gate. Owner only.",
    )


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
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: Entry) -> dict[str, Any]:
        return shapes.entry_header(instance)


class EntryOut(EntryHeader):
    content = serializers.CharField()

    def to_representation(self, instance: Entry) -> dict[str, Any]:
        return {**super().to_representation(instance), "content": instance.revision.content}


class FieldErrorOut(serializers.Serializer[Any]):
    pointer = serializers.CharField()
    detail = serializers.CharField()


class ItemOut(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    status = serializers.ChoiceField(choices=["created", "updated", "unchanged", "failed"])
    id = serializers.UUIDField(required=False)
    errors = FieldErrorOut(many=True, required=False)  # type: ignore[assignment]  # a field; DRF's property stays what it is


class ItemsOut(serializers.Serializer[Any]):
    """What became of each entry of an array, in order."""

    results = ItemOut(many=True)


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
