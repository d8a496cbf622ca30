"""Routes of an entry's history. Revisions never change, and those of an entry in the trash can still be read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import diffs, selectors, services
from knowledge.api import serializers as s
from knowledge.api.params import number
from knowledge.models import Entry, EntryRevision, Role
from realtime.errors import NotFound

NUMBER_MAX = 10**9 - 1


class RevisionListView(ApiView):
    """GET /api/knowledge-packs/{id}/entries/{entry}/revisions"""

    scopes = PACKS

    @extend_schema(responses=s.RevisionHeader(many=True))
    def get(self, request: Request, pk: str, entry: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk), entry, or_trashed=True)
        return self.paginated(selectors.revisions_of(found).defer("content"), s.RevisionHeader)


class RevisionView(ApiView):
    """GET /api/knowledge-packs/{id}/entries/{entry}/revisions/{n}"""

    scopes = PACKS

    @extend_schema(responses=s.RevisionOut)
    def get(self, request: Request, pk: str, entry: str, n: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk), entry, or_trashed=True)
        return Response(s.RevisionOut(_revision(found, n)).data)


class DiffView(ApiView):
    """GET /api/knowledge-packs/{id}/entries/{entry}/revisions/{n}/diff"""

    scopes = PACKS

    @extend_schema(
        responses=s.DiffOut,
        parameters=[OpenApiParameter("against", OpenApiTypes.INT, description="A revision; else the one before")],
    )
    def get(self, request: Request, pk: str, entry: str, n: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk), entry, or_trashed=True)
        revision = _revision(found, n)
        against = number(request, "against", revision.number - 1, NUMBER_MAX)
        return Response(_diff_json(selectors.revision_of(found, against) if against else None, revision))


class RevertView(ApiView):
    """POST /api/knowledge-packs/{id}/entries/{entry}/revisions/{n}/revert"""

    scopes = PACKS

    @extend_schema(request=None, responses=s.EntryOut, description="Makes a new revision that says what this one said.")
    def post(self, request: Request, pk: str, entry: str, n: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk, Role.EDITOR), entry)
        number = _revision(found, n).number
        reverted = services.revert_entry(found.pk, number, self.user, precondition=self.check_if_match)
        return self.single(s.EntryOut(reverted).data, reverted.version)


def _revision(entry: Entry, n: str) -> EntryRevision:
    if not (n.isascii() and n.isdigit()) or int(n[:10]) > NUMBER_MAX:
        raise NotFound("There is no such revision.")
    return selectors.revision_of(entry, int(n))


def _diff_json(old: EntryRevision | None, new: EntryRevision) -> dict[str, Any]:
    title, content = (old.title, old.content) if old else ("", "")
    found = diffs.diff(content, new.content)
    unified = found.unified(f"revision {old.number if old else 0}", f"revision {new.number}")
    return {
        "number": new.number,
        "against": old.number if old else None,
        "title": {"old": title, "new": new.title} if title != new.title else None,
        "content": {**asdict(found), "unified": unified},
    }


_ENTRY = "knowledge-packs/<str:pk>/entries/<str:entry>"
urlpatterns = [
    *route(f"{_ENTRY}/revisions", RevisionListView, "knowledge-revisions"),
    *route(f"{_ENTRY}/revisions/<str:n>", RevisionView, "knowledge-revision"),
    *route(f"{_ENTRY}/revisions/<str:n>/diff", DiffView, "knowledge-revision-diff"),
    *route(f"{_ENTRY}/revisions/<str:n>/revert", RevertView, "knowledge-revision-revert"),
]
