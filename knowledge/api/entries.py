"""Routes of entries: the list, and one entry."""

from __future__ import annotations

from typing import Any, Final, get_args

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import drafts, selectors, services
from knowledge.api import filters
from knowledge.api import serializers as s
from knowledge.api.ordering import OrderedPagination
from knowledge.api.params import BOOLEANS, choice
from knowledge.batch import ItemResult, OnDuplicate
from knowledge.drafts import EntryDraft, EntryPatch
from knowledge.models import Role
from realtime.errors import InvalidInput

ON_DUPLICATE: Final[tuple[OnDuplicate, ...]] = get_args(OnDuplicate)


class EntryListView(ApiView):
    """POST and GET /api/knowledge-packs/{id}/entries"""

    scopes = PACKS
    pagination_class = OrderedPagination
    filter_names = frozenset(one.name for one in filters.PARAMETERS)

    @extend_schema(
        request=EntryDraft,
        responses={200: s.EntryOut, 201: s.EntryOut, 207: s.ItemsOut},
        parameters=[OpenApiParameter("on_duplicate", enum=ON_DUPLICATE, default="fail")],
        description=f"Takes one entry, or an array of at most {s.ITEMS_MAX}: then the answer is 207 with one result for each. "
        "An entry whose external_id is known in the pack becomes a new revision of that entry (200). One whose title and content "
        "another entry has is refused (409, `duplicate`, the twin in `errors`); with `on_duplicate=skip` the answer is the twin (200), "
        "with `update` the twin takes the tags, metadata, source and external id that were sent.",
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        on_duplicate = _on_duplicate(request)
        if isinstance(request.data, list):
            items = _few_enough(request.data)
            results = services.add_entries(pack, self.user, items, on_duplicate=on_duplicate)
            return Response({"results": [_item_json(result) for result in results]}, status=207)
        entry, outcome = services.add_entry(pack, self.user, request.data, on_duplicate=on_duplicate)
        return self.single(s.EntryOut(entry).data, entry.version, status=201 if outcome == "created" else 200)

    @extend_schema(responses=s.EntryHeader(many=True), parameters=filters.PARAMETERS)
    def get(self, request: Request, pk: str) -> Response:
        trash = BOOLEANS[choice(request, "trash", list(BOOLEANS)) or "false"]
        pack = selectors.pack_for(self.user, pk, Role.EDITOR if trash else Role.VIEWER)
        entries = selectors.trash_of(pack) if trash else selectors.entries_of(pack)
        return self.paginated(filters.filtered(request, pack, entries), s.TrashedEntry if trash else s.EntryHeader)


class EntryView(ApiView):
    """GET, PATCH and DELETE /api/knowledge-packs/{id}/entries/{entry}"""

    scopes = PACKS

    @extend_schema(responses=s.EntryOut)
    def get(self, request: Request, pk: str, entry: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk), entry)
        return self.single(s.EntryOut(found).data, found.version)

    @extend_schema(
        request=EntryPatch,
        responses=s.EntryOut,
        description="Any of the fields; what is not named stays. New words make a new revision, which carries `note`. "
        "`reviewed: true` records that you have just looked at it, false that nobody has.",
    )
    def patch(self, request: Request, pk: str, entry: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk, Role.EDITOR), entry)
        changes = drafts.checked(EntryPatch, request.data).named()
        saved = services.revise_entry(found.pk, self.user, changes, precondition=self.check_if_match)
        return self.single(s.EntryOut(saved).data, saved.version)

    @extend_schema(responses={204: None}, description="Moves the entry to the trash, from where it can be restored.")
    def delete(self, request: Request, pk: str, entry: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk, Role.EDITOR), entry)
        services.delete_entry(found.pk, precondition=self.check_if_match)
        return Response(status=204)


class RestoreView(ApiView):
    """POST /api/knowledge-packs/{id}/entries/{entry}/restore"""

    scopes = PACKS

    @extend_schema(request=None, responses=s.EntryOut)
    def post(self, request: Request, pk: str, entry: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk, Role.EDITOR), entry, or_trashed=True)
        restored = services.restore_entry(found.pk)
        return self.single(s.EntryOut(restored).data, restored.version)


class RetryView(ApiView):
    """POST /api/knowledge-packs/{id}/entries/{entry}/retry"""

    scopes = PACKS

    @extend_schema(
        request=None, responses={202: s.EntryOut}, description="Queues an entry whose indexing failed again."
    )
    def post(self, request: Request, pk: str, entry: str) -> Response:
        found = selectors.entry_for(selectors.pack_for(self.user, pk, Role.EDITOR), entry)
        queued = services.retry_indexing(found.pk)
        return self.single(s.EntryOut(queued).data, queued.version, status=202)


def _item_json(result: ItemResult) -> dict[str, Any]:
    code = "duplicate" if result.twin else "invalid"
    return {
        "index": result.index,
        "status": result.status,
        **({"id": str(result.entry.pk)} if result.entry else {}),
        **({"code": code, "errors": result.errors} if result.errors else {}),
    }


def _few_enough(items: list[Any]) -> list[Any]:
    if len(items) > s.ITEMS_MAX:
        detail = f"At most {s.ITEMS_MAX} entries may be sent at once, not {len(items)}."
        raise InvalidInput(detail, code="too_many_items", errors=[{"pointer": "", "detail": detail}])
    return items


def _on_duplicate(request: Request) -> OnDuplicate:
    asked = choice(request, "on_duplicate", ON_DUPLICATE)
    return next((known for known in ON_DUPLICATE if known == asked), "fail")
