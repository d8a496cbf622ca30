"""Shapes of requests (checked strictly) and of answers (documented; the JSON itself comes from ``council.serial``)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from council import serial
from council.models import CouncilSession, Message

QUESTION_MAX = 10_000
CONTENT_MAX = 20_000
OPTION_MAX = 500
TOKENS_MAX = 10**9
CALLS_MAX = 10**6


class AgentIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=80)
    role = serializers.CharField(max_length=200, required=False, allow_blank=True)
    instructions = serializers.CharField(max_length=4000, required=False, allow_blank=True)
    model = serializers.CharField(max_length=120, required=False, allow_blank=True)
    chair = serializers.BooleanField(required=False)


class BudgetIn(serializers.Serializer[Any]):
    """Limits; null is none, and what is left out stays as it is."""

    tokens = serializers.IntegerField(min_value=1, max_value=TOKENS_MAX, allow_null=True, required=False)
    usd = serializers.DecimalField(
        max_digits=12, decimal_places=6, min_value=Decimal("0.000001"), allow_null=True, required=False,
        help_text="US dollars. Every seat's model must have a price.",
    )  # fmt: skip
    calls = serializers.IntegerField(min_value=1, max_value=CALLS_MAX, allow_null=True, required=False)
    seconds = serializers.DecimalField(
        max_digits=9, decimal_places=3, min_value=Decimal(1), allow_null=True, required=False,
        help_text="Seconds that models work, summed over calls.",
    )  # fmt: skip


class PackRef(NamedTuple):
    id: UUID
    snapshot: str | None


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "format": "uuid"},
            {
                "type": "object",
                "properties": {"id": {"type": "string", "format": "uuid"}, "snapshot": {"type": "string"}},
                "required": ["id"],
                "additionalProperties": False,
            },
        ]
    }
)
class PackRefField(serializers.Field[PackRef, Any, Any, Any]):
    """A pack by its id, or ``{"id", "snapshot"}``: as the snapshot of that label or id has it."""

    default_error_messages = {"invalid": "The id of a pack, or an object of its id and the label or id of a snapshot."}

    def to_internal_value(self, data: Any) -> PackRef:
        if not isinstance(data, dict):
            return PackRef(serializers.UUIDField().run_validation(data), None)
        snapshot = data.get("snapshot")
        if set(data) - {"id", "snapshot"} or not isinstance(snapshot, str | None) or len(snapshot or "") > 60:
            self.fail("invalid")
        return PackRef(serializers.UUIDField().run_validation(data.get("id")), snapshot)


class SessionFields(serializers.Serializer[Any]):
    """What may be said of a session when it is created and changed while it is a draft."""

    title = serializers.CharField(max_length=200, required=False)
    packs = serializers.ListField(child=PackRefField(), max_length=20, required=False)
    agents = AgentIn(many=True, required=False, allow_empty=False)
    protocol = serializers.JSONField(required=False, help_text="{preset, rule?, rounds?, quorum?, turn_deadline_s?, …}")
    options = serializers.ListField(child=serializers.CharField(max_length=OPTION_MAX), required=False)
    budget = BudgetIn(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Packs by id, and beside them the snapshots that are to be read of some."""
        if "packs" not in attrs:
            return attrs
        refs: list[PackRef] = attrs["packs"]
        pins = {ref.id: ref.snapshot for ref in refs if ref.snapshot is not None}
        return {**attrs, "packs": [ref.id for ref in refs], "pins": pins}

    def validate_protocol(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise serializers.ValidationError("Must be an object.")
        return value


class SessionIn(SessionFields):
    """The body of POST /api/council-sessions. Only ``question`` is required."""

    question = serializers.CharField(max_length=QUESTION_MAX)
    template = serializers.CharField(max_length=80, required=False, help_text="Slug or id of a council template.")


class SessionPatch(SessionFields):
    """The body of PATCH: anything but the template, which only shapes a new session."""

    question = serializers.CharField(max_length=QUESTION_MAX, required=False)


class MessageIn(serializers.Serializer[Any]):
    content = serializers.CharField(max_length=CONTENT_MAX)
    kind = serializers.ChoiceField(choices=Message.Kind.choices, default=Message.Kind.NOTE)
    interrupt = serializers.BooleanField(default=False)


class GateIn(serializers.Serializer[Any]):
    decision = serializers.ChoiceField(choices=["approve", "debate", "stop"])
    note = serializers.CharField(max_length=CONTENT_MAX, required=False, allow_blank=True, default="")


class TurnOut(serializers.Serializer[Any]):
    """A turn as the snapshot and the events show it; contents are null while they are sealed."""

    turn = serializers.UUIDField()
    seat = serializers.UUIDField(allow_null=True, help_text="null for counts and the gate")
    run = serializers.IntegerField()
    round = serializers.IntegerField()
    kind = serializers.CharField()
    ordinal = serializers.IntegerField()
    attempt = serializers.IntegerField()
    status = serializers.CharField()
    person = serializers.UUIDField(allow_null=True, help_text="who gave it, where no model did")
    result = serializers.JSONField(allow_null=True)
    evidence = serializers.JSONField()
    error = serializers.CharField()
    error_detail = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    human = serializers.BooleanField(help_text="It waits, or waited, for a person.")
    deadline_at = serializers.DateTimeField(allow_null=True, help_text="until when it waits for a person")


class TurnListOut(serializers.Serializer[Any]):
    results = TurnOut(many=True)


class TurnDetailOut(TurnOut):
    expects = serializers.JSONField(allow_null=True, help_text="JSON Schema of the reply; null once the turn is over")

    def get_fields(self) -> dict[str, Any]:
        """``context`` cannot be declared: serializers have an attribute of that name."""
        shown = serializers.JSONField(
            allow_null=True,
            help_text="All that this seat may know; at a gate the computed outcome. Null once the turn is over.",
        )
        return {**super().get_fields(), "context": shown}


class SessionHeader(serializers.Serializer[CouncilSession]):
    """One row of the list: long and nested content is left out."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    question = serializers.CharField()
    status = serializers.CharField()
    round = serializers.IntegerField()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: CouncilSession) -> Any:
        return serial.session_header(instance)


class SessionOut(SessionHeader):
    """The whole session (documentation of ``selectors.session_detail``)."""

    options = serializers.ListField(child=serializers.CharField())
    protocol = serializers.JSONField()
    template = serializers.JSONField(
        allow_null=True, help_text="{slug, title, version} of the template it was made from"
    )
    agents = serializers.JSONField()
    packs = serializers.ListField(child=serializers.UUIDField())
    snapshots = serializers.DictField(
        child=serializers.CharField(), help_text="Labels of the snapshots that are read, by pack"
    )
    usage = serializers.JSONField()
    budget = serializers.JSONField()
    warnings = serializers.ListField(child=serializers.CharField(), help_text="What to know about who sits here")
    last_seq = serializers.IntegerField()
    decision = serializers.JSONField(allow_null=True)


class SplitIn(serializers.Serializer[Any]):
    candidate = serializers.CharField(
        max_length=16, help_text='A candidate of the decision that was merged, like "a1".'
    )


class MessageOut(serializers.Serializer[Message]):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    content = serializers.CharField()
    interrupt = serializers.BooleanField()
    author = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()


class RecountOut(serializers.Serializer[Any]):
    agrees = serializers.BooleanField()
    decision = serializers.JSONField()
    differences = serializers.ListField(child=serializers.JSONField())
    people = serializers.ListField(child=serializers.CharField(), help_text="Names of the seats that were people's")
    other_rule = serializers.JSONField(
        required=False, help_text="With ?rule=: {rule, winner, option, text, decided_by, margin, too_close, same}"
    )


class EffectiveVotesOut(serializers.Serializer[Any]):
    """``rho`` and ``n_eff`` are null while a pair of models has met in fewer than ``needed`` sessions."""

    seats = serializers.IntegerField()
    sessions = serializers.IntegerField()
    needed = serializers.IntegerField()
    rho = serializers.FloatField(allow_null=True)
    n_eff = serializers.FloatField(allow_null=True)
    basis = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField())
