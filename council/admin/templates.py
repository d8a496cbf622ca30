"""Council templates, which staff curate."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.forms import BaseModelForm
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from accounts.models import User
from council import templates, validation
from council.admin.common import pretty, table
from council.api.serializers import OPTION_MAX, AgentIn
from council.defaults import Agent, with_chair
from council.models import CouncilTemplate, TemplateVersion
from realtime.errors import InvalidInput


class TemplateForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Checks what ``templates.save_template`` will check, so that a fault stands beside its field."""

    class Meta:
        model = CouncilTemplate
        fields = ("slug", "title", "description", "owner", "agents", "protocol", "question", "options", "packs")

    def clean_agents(self) -> list[Agent]:
        shape = AgentIn(data=self.cleaned_data["agents"], many=True)
        if not shape.is_valid():
            raise forms.ValidationError(list(faults(shape.errors)))
        return [cast("Agent", dict(agent)) for agent in shape.validated_data]

    def clean_protocol(self) -> dict[str, Any]:
        protocol = self.cleaned_data["protocol"] or {}
        if not isinstance(protocol, dict):
            raise forms.ValidationError("Must be an object.")
        return protocol

    def clean_options(self) -> list[str]:
        options = self.cleaned_data["options"] or []
        if not isinstance(options, list) or not all(isinstance(one, str) and one.strip() for one in options):
            raise forms.ValidationError("Must be a list of texts.")
        if any(len(one) > OPTION_MAX or "\x00" in one for one in options):
            raise forms.ValidationError(f"An option has at most {OPTION_MAX} characters, and no NUL.")
        return options

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        agents = with_chair(cleaned["agents"]) if "agents" in cleaned else None
        if agents is not None:
            self._check(validation.check_agents, agents)
        if "options" in cleaned:
            self._check(validation.check_options, cleaned["options"])
        if agents is not None and "protocol" in cleaned:
            self._check(validation.resolve_protocol, cleaned["protocol"], agents, cleaned.get("options", ()))
        return cleaned

    def _check(self, rule: Any, *values: Any) -> None:
        try:
            rule(*values)
        except InvalidInput as error:
            for fault in error.errors:
                field, _, rest = fault["pointer"].strip("/").partition("/")
                self.add_error(field, f"{rest}: {fault['detail']}" if rest else fault["detail"])


def faults(errors: Any, at: str = "") -> Any:
    """DRF's nested errors as sentences, each with where it belongs ("1/name: …")."""
    if isinstance(errors, dict):
        for key, inner in errors.items():
            yield from faults(inner, at if key == "non_field_errors" else f"{at}/{key}".strip("/"))
    elif errors and isinstance(errors, list) and not isinstance(errors[0], str):
        for index, inner in enumerate(errors):
            yield from faults(inner, f"{at}/{index}".strip("/"))
    else:
        yield from (f"{at}: {error}" if at else str(error) for error in errors)


@admin.register(CouncilTemplate)
class TemplateAdmin(ModelAdmin):
    form = TemplateForm
    list_display = ("title", "slug", "owner", "version", "updated_at")
    list_filter = ("owner",)
    list_select_related = ("owner",)
    search_fields = ("title", "slug", "question")
    ordering = ("title",)
    autocomplete_fields = ("owner", "packs")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """The slug is the name by which programs convene; it stays."""
        return ("slug", "version", "versions", "created_at", "updated_at") if obj else ()

    @admin.display(description="kept versions")
    def versions(self, template: CouncilTemplate) -> SafeString | str:
        """What sessions were made from. They are immutable, so they are only shown."""
        kept = TemplateVersion.objects.filter(template=template.pk)
        return table(
            ("version", "kept", "seats and protocol"),
            [(v.version, f"{v.created_at:%Y-%m-%d %H:%M}", pretty(v.content)) for v in kept],
        )

    def save_model(self, request: HttpRequest, obj: CouncilTemplate, form: BaseModelForm[Any], change: bool) -> None:
        data = form.cleaned_data
        saved = templates.save_template(
            cast("User | None", data["owner"]),
            slug=obj.slug,
            agents=data["agents"],
            packs=list(data["packs"]),
            protocol=data["protocol"],
            options=data["options"],
            **{name: data[name] for name in ("title", "description", "question")},
        )
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: CouncilTemplate) -> None:
        templates.delete_template(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CouncilTemplate]) -> None:
        for template in queryset:
            templates.delete_template(template)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Packs are the service's to set, and it has."""
