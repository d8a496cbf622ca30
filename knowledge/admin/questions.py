"""Golden questions, one at a time; a pack's own page lists them with their scores."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from knowledge import services
from knowledge.admin.common import ServiceErrors, TrashingAdmin, author, become, is_open
from knowledge.admin.pages import pack_chosen
from knowledge.models import GoldenQuestion
from realtime.errors import QuorumError


class QuestionForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = GoldenQuestion
        fields = ("pack", "question", "expected")
        help_texts = {"expected": "Entries of this pack that a search for the question should find"}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        pack = self.instance.pack if not self.instance._state.adding else cleaned.get("pack")
        strangers = [
            one.title for one in cleaned.get("expected", []) if pack and (one.pack_id != pack.pk or one.deleted_at)
        ]
        if strangers:
            self.add_error("expected", f"Not an entry of this pack: {', '.join(strangers)}.")
        if not is_open(pack):
            self.add_error(None, "The pack is in the trash.")
        asked = GoldenQuestion.objects.filter(pack=pack, question=cleaned.get("question")).exclude(pk=self.instance.pk)
        if pack and asked.exists():
            self.add_error("question", "The pack has this question already.")
        return cleaned


@admin.register(GoldenQuestion)
class GoldenQuestionAdmin(ServiceErrors, TrashingAdmin):
    form = QuestionForm
    error_fields = {"question_exists": "question"}
    list_display = ("question", "pack", "created_by", "created_at")
    list_select_related = ("pack", "created_by")
    search_fields = ("question", "pack__name")
    autocomplete_fields = ("pack", "expected")
    ordering = ("-created_at",)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_changeform_initial_data(request), "pack": pack_chosen(request)}

    def get_readonly_fields(self, request: HttpRequest, obj: GoldenQuestion | None = None) -> tuple[str, ...]:
        return ("pack", "created_by", "created_at") if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: GoldenQuestion | None = None) -> bool:
        return is_open(obj.pack if obj else None) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: GoldenQuestion | None = None) -> bool:
        return is_open(obj.pack if obj else None) and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: GoldenQuestion, form: QuestionForm, change: bool) -> None:
        question, expected = form.cleaned_data["question"], [one.pk for one in form.cleaned_data["expected"]]
        if change:
            saved = services.change_golden_question(obj.pk, question=question, expected=expected)
        else:
            saved = services.add_golden_question(obj.pack_id, author(request), question=question, expected=expected)
        become(obj, saved)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The expected entries are the service's to set, and it has."""

    def delete_model(self, request: HttpRequest, obj: GoldenQuestion) -> None:
        services.delete_golden_question(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[GoldenQuestion]) -> None:
        for question in queryset:
            try:
                services.delete_golden_question(question.pk)
            except QuorumError as error:
                self.message_user(request, f"{question}: {error.detail}", "warning")

    def response_add(
        self, request: HttpRequest, obj: GoldenQuestion, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Back to the pack's page, unless another is to be added."""
        usual = super().response_add(request, obj, post_url_continue)
        return _to_pack(obj) if "_save" in request.POST else usual

    def response_change(self, request: HttpRequest, obj: GoldenQuestion) -> HttpResponse:
        usual = super().response_change(request, obj)
        return _to_pack(obj) if "_save" in request.POST else usual


def _to_pack(question: GoldenQuestion) -> HttpResponse:
    return redirect(reverse("admin:knowledge_knowledgepack_questions", args=[question.pack_id]))
