"""Knowledge packs: make one, fill it, search it, read an entry."""

from __future__ import annotations

import html
import re
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import User
from council.pages.common import EXPECTED, blame, both, count_write, person, reading, show
from council.pages.forms import EntryForm, PackForm
from knowledge import services
from knowledge.models import Entry, EntryRevision, KnowledgePack, Role
from knowledge.quality import log as quality_log
from knowledge.search import search
from knowledge.selectors import entries_of, pack_for, readable_packs, role_in
from knowledge.states import IndexStatus, PackStatus
from realtime.errors import NotFound, QuorumError

PAGE = 50
RESULTS = 10
QUERY_MAX = 500
OPEN_INDEX = (IndexStatus.PENDING, IndexStatus.INDEXING)
_MARK = re.compile(r"</?mark>")


@both
def new(request: HttpRequest) -> HttpResponse:
    form = PackForm(request.POST or None)
    if form.is_bound and form.is_valid():
        try:
            count_write(request)
            pack = services.create_pack(person(request), **form.cleaned_data)
        except EXPECTED as error:
            blame(form, error)
        else:
            return redirect("pages:pack", pack.pk)
    return show(request, "pages/pack_new.html", {"form": form})


@reading
def pack(request: HttpRequest, pack_id: UUID) -> HttpResponse:
    """The pack; with ``q`` also what a search of it finds."""
    found = pack_for(person(request), pack_id)
    context = {
        **_pack(request, found),
        **_searched(found, person(request), request.GET.get("q", "")),
        "form": EntryForm(),
    }
    return show(request, "pages/pack.html", context, fragment="pages/packs/_results.html")


@both
def entries(request: HttpRequest, pack_id: UUID) -> HttpResponse:
    """The list alone (it asks again by itself while entries are being indexed), and where new entries arrive."""
    found = pack_for(person(request), pack_id, Role.EDITOR if request.method == "POST" else Role.VIEWER)
    if request.method != "POST":
        return show(
            request, "pages/pack.html", {**_pack(request, found), "form": EntryForm()}, "pages/packs/_entries.html"
        )
    form = EntryForm(request.POST)
    if form.is_valid() and _added(request, found, form):
        return redirect("pages:pack", found.pk)
    return show(request, "pages/pack.html", {**_pack(request, found), "form": form})


@reading
def entry(request: HttpRequest, entry_id: UUID) -> HttpResponse:
    """An entry as it stands, or at the ``revision`` that a citation names. Formatted; with the span of a citation, or ``source``, as
    it was written, for a quotation is of those very characters."""
    found = Entry.objects.filter(pk=entry_id, pack__in=readable_packs(person(request))).select_related("pack").first()
    if found is None:
        raise NotFound("There is no such entry.")
    revision = _revision(found, request.GET.get("revision", ""))
    start, end = _offset(request, "start"), _offset(request, "end")
    text = revision.content
    cut = (text[:start], text[start:end], text[end:]) if start < end <= len(text) else None
    if cut is None and "source" in request.GET:
        cut = (text, "", "")
    context = {"entry": found, "revision": revision, "current": revision.pk == found.revision_id, "cut": cut}
    return show(request, "pages/entry.html", context)


def _added(request: HttpRequest, pack: KnowledgePack, form: EntryForm) -> bool:
    try:
        count_write(request)
        services.add_entry(pack, person(request), form.cleaned_data)
    except EXPECTED as error:
        blame(form, error)
        return False
    messages.success(request, f"“{form.cleaned_data['title']}” is in the pack.")
    return True


def _pack(request: HttpRequest, pack: KnowledgePack) -> dict[str, Any]:
    listed = Paginator(entries_of(pack).order_by("-created_at", "-id"), PAGE).get_page(request.GET.get("page"))
    return {
        "pack": pack,
        "entries": listed,
        "indexing": any(one.index_status in OPEN_INDEX for one in listed),
        "writable": pack.status != PackStatus.ARCHIVED and role_in(pack) != Role.VIEWER,
    }


def _searched(pack: KnowledgePack, user: User, query: str) -> dict[str, Any]:
    query = query.replace("\x00", "").strip()[:QUERY_MAX]
    if not query:
        return {"query": ""}
    try:
        result = search([pack], query, limit=RESULTS)
    except QuorumError as error:
        return {"query": query, "problem": error.detail}
    quality_log.record([pack], user, query, result.mode, result, "person")
    return {"query": query, "took": round(result.took_ms), "hits": [_shown(hit) for hit in result.hits]}


def _shown(hit: Any) -> dict[str, Any]:
    return {"hit": hit, "highlight": highlighted(hit.highlight or html.escape(hit.text))}


def highlighted(markup: str) -> list[dict[str, Any]]:
    """The search's escaped text with ``<mark>`` tags as plain pieces, so that the template escapes it itself."""
    pieces, inside, last = [], False, 0
    for tag in [*_MARK.finditer(markup), None]:
        text = html.unescape(markup[last : tag.start() if tag else None])
        if text:
            pieces.append({"text": text, "marked": inside})
        if tag:
            inside, last = tag.group() == "<mark>", tag.end()
    return pieces


def _revision(entry: Entry, wanted: str) -> EntryRevision:
    revisions = EntryRevision.objects.filter(entry=entry)
    try:
        found = revisions.filter(pk=UUID(wanted) if wanted else entry.revision_id).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound("There is no such revision.")
    return found


def _offset(request: HttpRequest, name: str) -> int:
    raw = request.GET.get(name, "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 10 else 0
