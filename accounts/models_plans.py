"""Plans: what people may use. ``accounts.quotas`` counts."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from realtime.ids import uuid7


def _count(help_text: str) -> models.PositiveBigIntegerField[Any, Any]:
    return models.PositiveBigIntegerField(null=True, blank=True, help_text=help_text)


def _money(help_text: str) -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        max_digits=18, decimal_places=9, null=True, blank=True, validators=[MinValueValidator(0)], help_text=help_text
    )


class Limits(models.Model):
    """What somebody may use. Days and months are UTC's."""

    councils_running = _count("Councils that run or are paused at one time.")
    councils_day = _count("Runs of councils that begin in one day, follow-ups too.")
    tokens_day = _count("Tokens of one day; at the limit nothing more is begun.")
    tokens_month = _count("Tokens of one month.")
    usd_day = _money("US dollars of one day.")
    usd_month = _money("US dollars of one month.")
    packs = _count("Knowledge packs, those in the trash not counted.")
    entries = _count("Entries of all one's packs together, those in the trash not counted.")
    storage_bytes = _count(
        "Bytes that the texts of all one's entries take in the database, with their older revisions."
    )
    api_keys = _count("API keys that work.")

    class Meta:
        abstract = True


LIMITS: Final = tuple(field.name for field in Limits._meta.fields)


class Plan(Limits):
    """Limits under a name. Empty is unlimited. Who has no plan of their own has the default one; without one nothing is limited."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80, unique=True)
    is_default = models.BooleanField("default", default=False, help_text="Of everybody who has no plan of their own.")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="plan_one_default")
        ]

    def __str__(self) -> str:
        return self.name


class QuotaOverride(Limits):
    """Other limits for one person. Empty is what their plan says; to lift a limit for somebody, give a large one or another plan."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="quota_override"
    )
    note = models.CharField(max_length=200, blank=True, help_text="Why.")

    class Meta:
        verbose_name = "quota override"

    def __str__(self) -> str:
        return f"limits of {self.user}"
