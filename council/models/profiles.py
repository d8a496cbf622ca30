"""Models that staff have set up beside the default one."""

from __future__ import annotations

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from realtime.ids import uuid7
from realtime.states import one_of

PROVIDERS = ("openai", "anthropic")
STYLES = ("auto", "structured", "guided")
SCHEMAS = ("json_schema", "json_object", "none")
# On these a turn goes on with the profile's fallback: the model is away, overloaded, set up wrongly or too small for the prompt.
MOVES_ON = (
    "rate_limited", "limited", "server_error", "unreachable", "timeout", "cut_stream", "malformed", "bad_request", "auth_failed",
    "address_blocked", "prompt_too_long",
)  # fmt: skip
# A reply that cannot be used may move on as well, where that is wanted: another model may well refuse the same.
MAY_MOVE_ON = (
    *MOVES_ON,
    "refused",
    "empty_reply",
    "too_long",
    "not_json",
    "wrong_schema",
    "empty",
    "refusal",
    "tool_misuse",
)


def default_moves_on() -> list[str]:
    return list(MOVES_ON)


def _price(help_text: str = "") -> models.DecimalField[Any, Any]:
    """US dollars per million tokens; null is unknown, 0 is free."""
    return models.DecimalField(
        max_digits=10, decimal_places=4, null=True, blank=True, validators=[MinValueValidator(0)], help_text=help_text
    )


def _most() -> models.PositiveIntegerField[Any, Any]:
    return models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])


class ModelProfile(models.Model):
    """One model at one address, with its terms. Seats name it by its slug. The key is stored sealed (``accounts.vault``)."""

    class Provider(models.TextChoices):
        OPENAI = "openai", "OpenAI-compatible"
        ANTHROPIC = "anthropic", "Anthropic"

    class Style(models.TextChoices):
        AUTO = "auto", "by the model's name"
        STRUCTURED = "structured", "structured: a turn is one JSON object"
        GUIDED = "guided", "guided: one short question at a time, for small models"

    class Schema(models.TextChoices):
        JSON_SCHEMA = "json_schema", "JSON Schema"
        JSON_OBJECT = "json_object", "JSON, of any shape"
        NONE = "none", "none: asked for in words"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=50, unique=True, help_text="The name by which seats call it; it stays.")
    title = models.CharField(max_length=120, blank=True)
    enabled = models.BooleanField(default=True)
    provider = models.CharField(max_length=16, choices=Provider, default=Provider.OPENAI)
    base_url = models.CharField(
        "base URL", max_length=300, help_text="With /v1 for OpenAI-compatible servers, without for Anthropic."
    )
    model = models.CharField(max_length=120, help_text="Its name at that address.")
    sealed_key = models.TextField(blank=True, editable=False)
    style = models.CharField(max_length=16, choices=Style, default=Style.AUTO)
    schema = models.CharField(
        "native schema", max_length=16, choices=Schema, default=Schema.JSON_SCHEMA, help_text="The best it can enforce."
    )
    tools = models.BooleanField(default=False, help_text="Whether it can call tools.")
    context_window = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(512)], help_text="In tokens, prompt and reply together."
    )
    price_in = _price("US dollars per million tokens of the prompt. Empty: unknown; 0: free.")
    price_out = _price("Per million tokens of the reply.")
    price_cached = _price("Per million tokens of the prompt that came from the provider's cache. Empty: as the others.")
    max_concurrent = _most()
    requests_per_minute = _most()
    tokens_per_minute = _most()
    wait_s = models.PositiveIntegerField(
        "patience", default=30, help_text="Seconds that a call may wait for its limits."
    )
    timeout_s = models.PositiveIntegerField(
        "time limit", null=True, blank=True, validators=[MinValueValidator(1)],
        help_text="Seconds of one call. Empty: what is left of the turn.",
    )  # fmt: skip
    fallback = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="Asked instead after one of the errors below.",
    )  # fmt: skip
    moves_on = models.JSONField("errors that move on", default=default_moves_on, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["slug"]
        constraints = [
            one_of("model_profile_provider_known", "provider", PROVIDERS),
            one_of("model_profile_style_known", "style", STYLES),
            one_of("model_profile_schema_known", "schema", SCHEMAS),
            models.CheckConstraint(
                name="model_profile_priced_both_ways",
                condition=Q(price_in__isnull=True, price_out__isnull=True)
                | Q(price_in__isnull=False, price_out__isnull=False),
            ),
            models.CheckConstraint(name="model_profile_no_fallback_to_itself", condition=~Q(fallback=models.F("id"))),
        ]

    def __str__(self) -> str:
        return self.title or self.slug
