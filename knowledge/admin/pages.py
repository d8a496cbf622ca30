"""The tool pages of a pack: what they have in common.

Each page is a ``Page`` of ``KnowledgePackAdmin.pages``, at ``<pack>/<name>/`` under the URL name ``knowledge_knowledgepack_<name>``.
What it can do are its ``steps``: a form posts ``do=<step>``. Looking needs the page's permission, a step its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from knowledge.admin.common import explain
from knowledge.models import KnowledgePack
from knowledge.states import PackStatus
from realtime.errors import QuorumError

VIEW_PACK, CHANGE_PACK = "knowledge.view_knowledgepack", "knowledge.change_knowledgepack"

Context = dict[str, Any]


class StepForm(forms.Form):
    """Fields of a step, and the pack that it is about."""

    def __init__(self, pack: KnowledgePack, *args: Any, **kwargs: Any) -> None:
        self.pack = pack
        super().__init__(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Step:
    """``act`` calls a service with the form's values and returns what to tell the person (or where to send them). ``fields`` says
    beside which field an error of the service belongs, by its code. A form of a row of a table has no place for errors
    (``row``): they stand above the page."""

    act: Callable[[HttpRequest, KnowledgePack, dict[str, Any]], str | HttpResponse]
    permission: str = CHANGE_PACK
    form: type[StepForm] = StepForm
    fields: Mapping[str, str] = field(default_factory=dict)
    row: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """``show`` gives what the template ``admin/knowledge/<name>.html`` needs besides the forms. A form that does not name its step
    means the first. ``trashed``: the page is there for packs in the trash too."""

    name: str
    title: str
    show: Callable[[HttpRequest, KnowledgePack], Context]
    steps: Mapping[str, Step] = field(default_factory=dict)
    permission: str = VIEW_PACK
    trashed: bool = False


class PackPages:
    """Mixed into the pack's ``ModelAdmin``."""

    admin_site: Any
    opts: Any
    log_change: Any
    pages: Sequence[Page] = ()

    def page_urls(self) -> list[URLPattern]:
        return [
            path(
                f"<uuid:pk>/{page.name}/",
                self.admin_site.admin_view(self._view(page)),
                name=f"knowledge_knowledgepack_{page.name}",
            )
            for page in self.pages
        ]

    def _view(self, page: Page) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, pk: UUID) -> HttpResponse:
            pack = open_pack(pk, or_trashed=page.trashed)
            if pack is None:
                raise Http404("There is no such knowledge pack.")
            permit(request, page.permission)
            forms = {name: step.form(pack, auto_id=f"{name}-%s") for name, step in page.steps.items()}
            if request.method == "POST":
                answer = self._post(request, page, pack, forms)
                if answer is not None:
                    return answer
            return self._shown(request, page, pack, forms)

        return view

    def _post(
        self, request: HttpRequest, page: Page, pack: KnowledgePack, forms: dict[str, StepForm]
    ) -> HttpResponse | None:
        """Carry the step out. None when the page is to be shown again, with what was wrong."""
        name = request.POST.get("do") or next(iter(page.steps), "")
        step = page.steps.get(name)
        permit(request, step.permission if step else CHANGE_PACK)
        if not page.steps:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if step is None:
            raise SuspiciousOperation(f"The page has no step {name!r}.")
        form = forms[name] = step.form(pack, request.POST, request.FILES, auto_id=f"{name}-%s")
        said = self._carry_out(request, pack, step, form)
        if said is None:
            _report(request, step, form)
            return None
        self.log_change(request, pack, said if isinstance(said, str) else page.title)
        if isinstance(said, str):
            messages.success(request, said)
            return redirect(request.get_full_path())
        return said

    def _carry_out(
        self, request: HttpRequest, pack: KnowledgePack, step: Step, form: StepForm
    ) -> str | HttpResponse | None:
        if not form.is_valid():
            return None
        try:
            return step.act(request, pack, form.cleaned_data)
        except QuorumError as error:
            explain(form, error, step.fields)
            return None

    def _shown(
        self, request: HttpRequest, page: Page, pack: KnowledgePack, forms: dict[str, StepForm]
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            **pack_context(request, pack, page.name),
            "title": pack.name,
            "subtitle": page.title,
            "original": pack,
            "opts": self.opts,
            "forms": forms,
            "may": {name: request.user.has_perm(step.permission) for name, step in page.steps.items()},
            **page.show(request, pack),
        }
        return TemplateResponse(request, f"admin/knowledge/{page.name}.html", context)


def permit(request: HttpRequest, permission: str) -> None:
    if not request.user.has_perm(permission):
        raise PermissionDenied


def _report(request: HttpRequest, step: Step, form: StepForm) -> None:
    """Above the page what has no field to stand beside."""
    elsewhere = [text for texts in form.errors.values() for text in texts] if step.row else form.non_field_errors()
    for text in elsewhere:
        messages.error(request, str(text))


def open_pack(pack_id: UUID | str, *, or_trashed: bool = False) -> KnowledgePack | None:
    """The pack of that id, unless there is none, it is in the trash, or the id is not one."""
    if not is_uuid(str(pack_id)):
        return None
    packs = KnowledgePack.objects.select_related("owner", "embedding")
    return (packs if or_trashed else packs.exclude(status=PackStatus.DELETED)).filter(pk=pack_id).first()


def pack_chosen(request: HttpRequest) -> KnowledgePack | None:
    """The pack that a form for something new is for: named by ``pack``, or by the list that the person came from."""
    came_from = QueryDict(request.GET.get("_changelist_filters", ""))
    return open_pack(request.GET.get("pack") or came_from.get("pack__id__exact", ""))


def pack_context(request: HttpRequest, pack: KnowledgePack, here: str) -> Context:
    """What the tabs above every page of a pack need. One in the trash can only be restored."""
    tabs = _tabs(pack) if pack.status != PackStatus.DELETED else [_page(pack, "manage", "Manage", VIEW_PACK)]
    return {
        "pack": pack,
        "pack_tabs": [
            {"name": name, "title": title, "link": link, "here": name == here}
            for name, title, link, permission in tabs
            if request.user.has_perm(permission)
        ],
    }


_Tab = tuple[str, str, str, str]


def _tabs(pack: KnowledgePack) -> list[_Tab]:
    """Each with the permission that its page asks for, so that nobody is shown a tab that will not open."""
    return [
        _page(pack, "dashboard", "Dashboard", VIEW_PACK),
        _list(pack, "entry", "entries", "Entries"),
        _list(pack, "import", "imports", "Imports"),
        _list(pack, "snapshot", "snapshots", "Snapshots"),
        _page(pack, "questions", "Golden questions", "knowledge.view_goldenquestion"),
        _page(pack, "hits", "Hit testing", "knowledge.view_entry"),
        _page(pack, "searches", "Searches", "knowledge.view_searchlog"),
        _page(pack, "review", "Reviews", "knowledge.view_entry"),
        _page(pack, "sharing", "Sharing", "knowledge.view_packshare"),
        _page(pack, "embedding", "Embedding", VIEW_PACK),
        _page(pack, "change", "Settings", VIEW_PACK),
        _page(pack, "manage", "Manage", VIEW_PACK),
    ]


def _page(pack: KnowledgePack, name: str, title: str, permission: str) -> _Tab:
    return (name, title, address(pack, name), permission)


def _list(pack: KnowledgePack, model: str, name: str, title: str) -> _Tab:
    link = f"{reverse(f'admin:knowledge_{model}_changelist')}?pack__id__exact={pack.pk}"
    return (name, title, link, f"knowledge.view_{model}")


def address(pack: KnowledgePack, page: str) -> str:
    return reverse(f"admin:knowledge_knowledgepack_{page}", args=[pack.pk])


def is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True
