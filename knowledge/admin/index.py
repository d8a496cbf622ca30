"""Embedding models, which staff register, and the spaces that packs keep vectors in, which are only read."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from knowledge.admin.common import STATUS_COLOURS, ReadOnly, ServiceErrors, TrashingAdmin, become
from knowledge.admin.packs import bar
from knowledge.models import EmbeddingModel, EmbeddingSpace
from knowledge.services import spaces as registry
from realtime.errors import InvalidInput, QuorumError


class ModelForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    base_url = forms.URLField(required=False, assume_scheme="https", widget=UnfoldAdminTextInputWidget, max_length=300)

    class Meta:
        model = EmbeddingModel
        fields = registry.MODEL_FIELDS
        help_texts = {
            "api_key_env": "Name of the environment variable that holds the key, e.g. EMBEDDING_KEY; the key itself is not stored",
            "send_dimension": "For models that can shorten their vectors",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """What vectors depend on stays while there are any."""
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding and registry.embedding_model_in_use(self.instance):
            for name in registry.MODEL_IDENTITY:
                self.fields[name].disabled = True

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            wanted = EmbeddingModel(pk=self.instance.pk, **{name: cleaned[name] for name in self.fields})
            wanted._state.adding = self.instance._state.adding
            self._check(wanted)
        return cleaned

    def _check(self, wanted: EmbeddingModel) -> None:
        try:
            registry.check_embedding_model(wanted)
        except InvalidInput as error:
            for wrong in error.errors:
                self.add_error(wrong["pointer"].strip("/") or None, wrong["detail"])


@admin.register(EmbeddingModel)
class EmbeddingModelAdmin(ServiceErrors, TrashingAdmin):
    form = ModelForm
    list_display = ("name", "provider", "model", "dimension", "api_key_env", "enabled", "created_at")
    list_filter = ("provider", "enabled")
    search_fields = ("name", "model")
    ordering = ("name",)

    def has_delete_permission(self, request: HttpRequest, obj: EmbeddingModel | None = None) -> bool:
        return not (obj and registry.embedding_model_in_use(obj)) and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: EmbeddingModel, form: ModelForm, change: bool) -> None:
        values = form.cleaned_data
        become(
            obj,
            registry.update_embedding_model(obj.pk, values) if change else registry.create_embedding_model(**values),
        )

    def delete_model(self, request: HttpRequest, obj: EmbeddingModel) -> None:
        registry.delete_embedding_model(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[EmbeddingModel]) -> None:
        for model in queryset:
            try:
                registry.delete_embedding_model(model.pk)
            except QuorumError as error:
                self.message_user(request, f"{model}: {error.detail}", "warning")


@admin.register(EmbeddingSpace)
class EmbeddingSpaceAdmin(ReadOnly, ModelAdmin):
    list_display = ("pack", "model", "dimension", "phase", "progress", "ann_state", "ann_recall", "created_at")
    list_filter = ("state", "ann_state", "model")
    list_select_related = ("pack",)
    search_fields = ("pack__name", "model")
    ordering = ("-created_at",)
    fields = (
        "pack", "model", "dimension", "chunker_version", "phase", "progress", "error", "ann_state", "ann_recall", "ann_sampled_at",
        "created_at",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[EmbeddingSpace]:
        spaces = cast("QuerySet[EmbeddingSpace]", super().get_queryset(request))
        return spaces.annotate(filled=Count("vectors"))

    @display(description="state", label=STATUS_COLOURS, ordering="state")
    def phase(self, space: EmbeddingSpace) -> str:
        return space.state

    @admin.display(description="passages embedded")
    def progress(self, space: EmbeddingSpace) -> SafeString:
        return bar(vars(space)["filled"], space.pack.passage_count)
