"""The page of a pack's vectors: which model makes them, and how far a move to another one is."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.conf import settings
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget

from knowledge import minilm, selectors, services
from knowledge.admin.dashboard import space_rows
from knowledge.admin.pages import Context, Page, Step, StepForm
from knowledge.models import KnowledgePack, SpaceState

DEFAULT = ""  # of the select: the model that the settings name


class ModelForm(StepForm):
    model = forms.ChoiceField(required=False, label="Embedding model", widget=UnfoldAdminSelectWidget)

    def __init__(self, pack: KnowledgePack, *args: Any, **kwargs: Any) -> None:
        super().__init__(pack, *args, **kwargs)
        registered = [
            (one.name, f"{one.name} ({one.model}, {one.dimension} dimensions)")
            for one in selectors.embedding_models().order_by("name")
        ]
        field = cast("forms.ChoiceField", self.fields["model"])
        field.choices = [(DEFAULT, f"The server's own ({settings.EMBEDDING_MODEL or minilm.NAME})"), *registered]
        field.initial = pack.embedding.name if pack.embedding else DEFAULT


def embedding(_request: HttpRequest, pack: KnowledgePack) -> Context:
    future = pack.spaces.filter(state=SpaceState.FUTURE).first()
    return {"spaces": space_rows(pack), "future": future, "live": future is not None}


def choose(_request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> str:
    changed = services.choose_embedding(pack.pk, values["model"] or None)
    if changed.spaces.filter(state=SpaceState.FUTURE).exists():
        return "The new vectors are being made. Searches use the old ones until all are there."
    return "The choice is kept; no vectors have to be made for it."


def reembed(_request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    changed = services.reembed(pack.pk)
    if changed.spaces.filter(state=SpaceState.FUTURE).exists():
        return "All vectors are being made anew. Searches use the old ones until all are there."
    return "The pack has no vectors yet; its entries get theirs as they are indexed."


def cancel_migration(_request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    services.cancel_migration(pack.pk)
    return "The move was cancelled; the pack keeps the vectors that it has."


PAGE = Page(
    "embedding",
    "Embedding",
    embedding,
    {
        "choose": Step(choose, form=ModelForm, fields={"unknown_model": "model"}),
        "reembed": Step(reembed, row=True),
        "cancel_migration": Step(cancel_migration, row=True),
    },
)
