"""Model profiles and daily budgets, which staff keep. Keys go in and never come out."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from council import budgets, profiles
from council.models import DailyBudget, ModelProfile
from council.models.profiles import MAY_MOVE_ON
from realtime.errors import InvalidInput


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """The key's field is always empty: what is stored is not sent to browsers."""

    api_key = forms.CharField(
        required=False, max_length=500, strip=True, label="API key",
        widget=UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "new-password"}),
        help_text="Write-only. Empty leaves the stored key as it is.",
    )  # fmt: skip
    forget_key = forms.BooleanField(required=False, label="Forget the stored key")

    class Meta:
        model = ModelProfile
        fields = ("slug", *profiles.FIELDS)
        help_texts = {"moves_on": f"A list of: {', '.join(MAY_MOVE_ON)}."}

    def clean_moves_on(self) -> list[str]:
        codes = self.cleaned_data["moves_on"] or []
        if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
            raise forms.ValidationError("Must be a list of texts.")
        return codes

    def clean(self) -> dict[str, Any]:
        """What ``profiles.save_profile`` will check, so that a fault stands beside its field."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("api_key") and cleaned.get("forget_key"):
            self.add_error("forget_key", "Give a new key or forget the stored one, not both.")
        if self.errors:
            return cleaned
        candidate = ModelProfile(pk=self.instance.pk, **{name: cleaned[name] for name in profiles.FIELDS})
        try:
            profiles.check(candidate)
        except InvalidInput as error:
            for fault in error.errors:
                self.add_error(fault["pointer"].strip("/"), fault["detail"])
        return cleaned

    def new_key(self) -> str | None:
        """As ``save_profile`` takes it: None leaves what is stored."""
        return "" if self.cleaned_data["forget_key"] else self.cleaned_data["api_key"] or None


@admin.register(ModelProfile)
class ModelProfileAdmin(ModelAdmin):
    form = ProfileForm
    list_display = ("slug", "title", "state", "provider", "model", "has_key", "price", "limits", "fallback")
    list_filter = ("enabled", "provider")
    list_select_related = ("fallback",)
    search_fields = ("slug", "title", "model")
    ordering = ("slug",)
    autocomplete_fields = ("fallback",)
    fieldsets = (
        (None, {"fields": ("slug", "title", "enabled")}),
        ("Where", {"fields": ("provider", "base_url", "model", "api_key", "forget_key", "has_key")}),
        ("What it can do", {"fields": ("style", "schema", "tools", "context_window")}),
        ("What it costs", {"fields": ("price_in", "price_out", "price_cached")}),
        (
            "How much of it",
            {"fields": ("max_concurrent", "requests_per_minute", "tokens_per_minute", "wait_s", "timeout_s")},
        ),
        ("When it fails", {"fields": ("fallback", "moves_on")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """The slug is the name by which seats call it; it stays."""
        return ("slug", "has_key") if obj else ("has_key",)

    def save_model(self, request: HttpRequest, obj: ModelProfile, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in profiles.FIELDS}
        saved = profiles.save_profile(obj.slug, values, api_key=cast("ProfileForm", form).new_key())
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: ModelProfile) -> None:
        profiles.delete_profile(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ModelProfile]) -> None:
        for profile in queryset:
            profiles.delete_profile(profile)

    @display(description="state", label={"on": "success", "off": "warning"}, ordering="enabled")
    def state(self, profile: ModelProfile) -> str:
        return "on" if profile.enabled else "off"

    @admin.display(description="key stored", boolean=True)
    def has_key(self, profile: ModelProfile) -> bool:
        return bool(profile.sealed_key)

    @admin.display(description="$ per million in / out", ordering="price_in")
    def price(self, profile: ModelProfile) -> str:
        return "unknown" if profile.price_in is None else f"{profile.price_in:g} / {profile.price_out:g}"

    @admin.display(description="at once, calls/min, tokens/min")
    def limits(self, profile: ModelProfile) -> str:
        given = (profile.max_concurrent, profile.requests_per_minute, profile.tokens_per_minute)
        return ", ".join("–" if one is None else str(one) for one in given)


@admin.register(DailyBudget)
class DailyBudgetAdmin(ModelAdmin):
    """Limits of a person and day (UTC). Who is not listed has none."""

    list_display = ("user", "tokens_today", "usd_today", "calls_today", "seconds_today")
    list_select_related = ("user",)
    search_fields = ("user__email", "user__name")
    ordering = ("user__email",)
    autocomplete_fields = ("user",)
    fields = (
        "user", "tokens_limit", "usd_limit", "calls_limit", "seconds_limit",
        "tokens_today", "usd_today", "calls_today", "seconds_today",
    )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        shown = ("tokens_today", "usd_today", "calls_today", "seconds_today")
        return ("user", *shown) if obj else shown

    def save_model(self, request: HttpRequest, obj: DailyBudget, form: Any, change: bool) -> None:
        limits = {name: form.cleaned_data[f"{name}_limit"] for name in budgets.LIMITS}
        obj.__dict__.update(budgets.set_daily_limits(obj.user, limits).__dict__)

    @admin.display(description="tokens today")
    def tokens_today(self, budget: DailyBudget) -> str:
        return _of(budget, "tokens")

    @admin.display(description="US dollars today")
    def usd_today(self, budget: DailyBudget) -> str:
        return _of(budget, "usd")

    @admin.display(description="calls today")
    def calls_today(self, budget: DailyBudget) -> str:
        return _of(budget, "calls")

    @admin.display(description="seconds today")
    def seconds_today(self, budget: DailyBudget) -> str:
        return _of(budget, "seconds")


def _of(budget: DailyBudget, name: str) -> str:
    if budget._state.adding:  # the form for a new one
        return "–"
    limit = getattr(budget, f"{name}_limit")
    used = getattr(budget, budgets.used_field(name)) if budget.day == budgets.today() else 0
    return f"{used:,g} of {'any number' if limit is None else f'{limit:,g}'}"
