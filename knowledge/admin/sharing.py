"""The page of who may use a pack."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminSelectWidget

from knowledge import services
from knowledge.admin.common import author
from knowledge.admin.pages import CHANGE_PACK, Context, Page, Step, StepForm
from knowledge.models import KnowledgePack, PackShare, Role

ROLES = [(Role.VIEWER.value, "Viewer: reads and searches"), (Role.EDITOR.value, "Editor: also changes entries")]
_PERSON = {"user_not_found": "email", "already_owner": "email"}


class PersonForm(StepForm):
    email = forms.EmailField(label="E-mail address", max_length=254, widget=UnfoldAdminEmailInputWidget)


class ShareForm(PersonForm):
    role = forms.ChoiceField(choices=ROLES, widget=UnfoldAdminSelectWidget)


class RowForm(StepForm):
    share = forms.UUIDField()


class RoleForm(RowForm):
    role = forms.ChoiceField(choices=ROLES)


def sharing(_request: HttpRequest, pack: KnowledgePack) -> Context:
    shares = PackShare.objects.filter(pack=pack).select_related("user", "created_by").order_by("created_at")
    return {"shares": shares, "roles": [(Role.VIEWER.value, "Viewer"), (Role.EDITOR.value, "Editor")]}


def share(request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> str:
    made, new = services.share(pack.pk, author(request), values["email"], values["role"])
    return f"{made.user} is {'now' if new else 'from now on'} {_a(made.role)} of this pack."


def change_role(_request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> str:
    changed = services.change_role(pack.pk, values["share"], values["role"])
    return f"{changed.user} is {_a(changed.role)} of this pack."


def unshare(_request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> str:
    person = _person(pack, values["share"])
    services.unshare(pack.pk, values["share"])
    return f"{person} has no share of this pack any more."


def transfer(_request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> str:
    changed = services.transfer(pack.pk, values["email"])
    return f"{changed.owner} owns this pack now; {pack.owner} stays as an editor."


def _person(pack: KnowledgePack, share_id: UUID) -> str:
    found = PackShare.objects.filter(pack=pack, pk=share_id).select_related("user").first()
    return str(found.user) if found else "Nobody"


def _a(role: str) -> str:
    return "an editor" if role == Role.EDITOR else "a viewer"


PAGE = Page(
    "sharing",
    "Sharing",
    sharing,
    {
        "share": Step(share, "knowledge.add_packshare", ShareForm, _PERSON),
        "change_role": Step(change_role, "knowledge.change_packshare", RoleForm, row=True),
        "unshare": Step(unshare, "knowledge.delete_packshare", RowForm, row=True),
        "transfer": Step(transfer, CHANGE_PACK, PersonForm, _PERSON),
    },
    permission="knowledge.view_packshare",
)
