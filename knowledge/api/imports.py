"""Routes of imports."""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.parsers import StrictJSONParser
from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import selectors
from knowledge.api import serializers as s
from knowledge.api.ordinals import OrdinalPagination
from knowledge.api.params import choice
from knowledge.drafts import TAGS_MAX, URL_MAX
from knowledge.errors import TooLarge
from knowledge.imports import files
from knowledge.models import Import, ImportItem, ImportStatus, ItemStatus, KnowledgePack, Role
from knowledge.services import imports as service
from knowledge.shapes import import_header, import_item
from realtime.errors import InvalidInput, NotFound

_FORM_ROOM = 64 * 1024  # what a form may have besides the file


class StoredUpload(UploadedFile):  # type: ignore[type-arg]  # generic in the stubs only
    """A file that lies in the imports folder already, under the name ``stored``."""

    def __init__(self, stored: str, digest: str, name: str, content_type: str | None, size: int) -> None:
        super().__init__(name=name, content_type=content_type or "", size=size)
        self.stored, self.digest = stored, digest


class ImportUploadHandler(FileUploadHandler):
    """Writes the upload to its place as it comes in, and stops at the limit."""

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        self.stored, self.taken = "", 0
        self.file: BinaryIO | None = None
        self.digest = hashlib.sha256()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self.stored:
            self._discard()
            raise InvalidInput("One file is imported at a time; pack several into a zip.", code="too_many_files")
        self.stored, self.file = files.create()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.taken += len(raw_data)
        if self.taken > settings.IMPORT_MAX_BYTES:
            self._discard()
            raise too_large()
        if self.file:
            self.file.write(raw_data)
            self.digest.update(raw_data)

    def file_complete(self, file_size: int) -> StoredUpload:
        if self.file:
            self.file.close()
        return StoredUpload(
            self.stored, self.digest.hexdigest(), self.file_name or "upload", self.content_type, file_size
        )

    def upload_interrupted(self) -> None:
        self._discard()

    def _discard(self) -> None:
        if self.file:
            self.file.close()
        files.remove(self.stored)


class ImportIn(serializers.Serializer[Any]):
    """The body of POST …/imports: either a form with ``file``, or JSON with ``urls``."""

    urls = serializers.ListField(
        child=s.Text(max_length=URL_MAX), max_length=service.URLS_MAX, min_length=1, required=False
    )
    on_duplicate = s.Choice(choices=["skip", "update", "fail"], default="skip")
    dry_run = serializers.BooleanField(default=False)
    tags = s.Tags(max_length=TAGS_MAX, required=False, help_text="given to every entry")
    source_url = serializers.URLField(max_length=URL_MAX, required=False, help_text="of entries that name none")
    folder_tags = serializers.BooleanField(required=False, help_text="folders of an archive become tags")
    path_ids = serializers.BooleanField(
        required=False,
        help_text="files become entries with their path as external_id, so that a later import updates them",
    )


class ImportForm(ImportIn):
    file = serializers.FileField()


class ImportOut(serializers.Serializer[Import]):
    id = serializers.UUIDField()
    pack = serializers.UUIDField()
    status = serializers.ChoiceField(choices=ImportStatus.choices)
    dry_run = serializers.BooleanField()
    on_duplicate = serializers.ChoiceField(choices=["skip", "update", "fail"])
    filename = serializers.CharField()
    media_type = serializers.CharField()
    size = serializers.IntegerField()
    urls = serializers.ListField(child=serializers.CharField())
    options = serializers.JSONField()
    total = serializers.IntegerField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="items by status")
    plan = serializers.DictField(child=serializers.IntegerField(), help_text="what committing does or has done")
    error = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Import) -> dict[str, Any]:
        return import_header(instance)


class ImportItemOut(serializers.Serializer[ImportItem]):
    ordinal = serializers.IntegerField()
    source = serializers.CharField(help_text="path inside the archive, line, or address")  # type: ignore[assignment]  # a field
    status = serializers.ChoiceField(choices=ItemStatus.choices)
    planned = serializers.ChoiceField(choices=["created", "updated", "unchanged"], allow_null=True)
    title = serializers.CharField(allow_null=True)
    diff = serializers.JSONField(allow_null=True)
    error = serializers.CharField(allow_null=True)
    entry = serializers.UUIDField(allow_null=True)

    def to_representation(self, instance: ImportItem) -> dict[str, Any]:
        return import_item(instance)


class ImportListView(ApiView):
    """POST and GET /api/knowledge-packs/{id}/imports"""

    scopes = PACKS
    filter_names = frozenset({"status"})

    parser_classes = [StrictJSONParser, MultiPartParser]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        http = request._request
        if (http.content_type or "").startswith("multipart/"):
            # Before the CSRF check of a session, which looks for its token in the form and so has Django read it.
            if _content_length(http.META) > settings.IMPORT_MAX_BYTES + _FORM_ROOM:
                raise too_large()
            http.upload_handlers = [ImportUploadHandler(http)]
        super().initial(request, *args, **kwargs)

    def body_for_fingerprint(self) -> bytes:
        if not isinstance(self.request.data, QueryDict):
            return super().body_for_fingerprint()
        parts = [(name, values) for name, values in sorted(self.request.data.lists()) if name != "file"]
        uploads = [(name, upload.name, upload.digest) for name, upload in self.request.FILES.items()]
        return repr((parts, uploads)).encode()

    @extend_schema(
        request={"multipart/form-data": ImportForm, "application/json": ImportIn},
        responses={202: ImportOut},
        description="Markdown, text, HTML, PDF, DOCX, CSV, JSON lines, or a zip of these. Answers at once; follow the import by "
        "its address or the pack's events. With dry_run it waits, planned, to be committed.",
    )
    def post(self, request: Request, pk: str) -> Response:
        upload = None
        try:
            pack = selectors.pack_for(self.user, pk, Role.EDITOR)
            body, upload = _body(request)
            values = self.validated(ImportIn, body)
            job = self._create(pack, values, upload)
        except Exception:
            _forget(request)
            raise
        return Response(import_header(job), status=202, headers={"Location": f"{request.path.rstrip('/')}/{job.pk}"})

    @extend_schema(responses=ImportOut(many=True), parameters=[OpenApiParameter("status", enum=ImportStatus.values)])
    def get(self, request: Request, pk: str) -> Response:
        imports = selectors.imports_of(selectors.pack_for(self.user, pk))
        if status := choice(request, "status", ImportStatus.values):
            imports = imports.filter(status=status)
        return self.paginated(imports, ImportOut)

    def _create(self, pack: KnowledgePack, values: dict[str, Any], upload: StoredUpload | None) -> Import:
        urls = values.pop("urls", [])
        if (upload is None) == (not urls):
            raise InvalidInput("Send either a form with a file, or JSON with urls.", code="nothing_to_import")
        service.check_urls(urls)
        named = {name: values.pop(name) for name in ("on_duplicate", "dry_run")}
        if upload is None:
            return service.create_import(pack, self.user, urls=urls, options=values, **named)
        return service.create_import(
            pack,
            self.user,
            path=upload.stored,
            filename=upload.name or "upload",
            media_type=upload.content_type or "",
            size=upload.size or 0,
            options=values,
            **named,
        )


class ImportView(ApiView):
    """GET /api/knowledge-packs/{id}/imports/{import}"""

    scopes = PACKS

    @extend_schema(responses=ImportOut)
    def get(self, request: Request, pk: str, import_id: str) -> Response:
        return Response(import_header(import_of(selectors.pack_for(self.user, pk), import_id)))


class ImportItemsView(ApiView):
    """GET /api/knowledge-packs/{id}/imports/{import}/items"""

    scopes = PACKS
    pagination_class = OrdinalPagination
    filter_names = frozenset({"status"})

    @extend_schema(responses=ImportItemOut(many=True), parameters=[OpenApiParameter("status", enum=ItemStatus.values)])
    def get(self, request: Request, pk: str, import_id: str) -> Response:
        items = ImportItem.objects.filter(job=import_of(selectors.pack_for(self.user, pk), import_id))
        if status := choice(request, "status", ItemStatus.values):
            items = items.filter(status=status)
        return self.paginated(items, ImportItemOut)


class ImportCommitView(ApiView):
    """POST /api/knowledge-packs/{id}/imports/{import}/commit"""

    scopes = PACKS

    @extend_schema(request=None, responses={202: ImportOut})
    def post(self, request: Request, pk: str, import_id: str) -> Response:
        job = import_of(selectors.pack_for(self.user, pk, Role.EDITOR), import_id)
        return Response(import_header(service.commit_import(job.pk)), status=202)


class ImportCancelView(ApiView):
    """POST /api/knowledge-packs/{id}/imports/{import}/cancel"""

    scopes = PACKS

    @extend_schema(request=None, responses=ImportOut)
    def post(self, request: Request, pk: str, import_id: str) -> Response:
        job = import_of(selectors.pack_for(self.user, pk, Role.EDITOR), import_id)
        return Response(import_header(service.cancel_import(job.pk)))


def import_of(pack: KnowledgePack, import_id: str) -> Import:
    found = Import.objects.filter(pack=pack, pk=selectors.uuid_or_not_found(import_id)).first()
    if found is None:
        raise NotFound("There is no such import.")
    return found


def too_large() -> TooLarge:
    return TooLarge(f"A file may have at most {settings.IMPORT_MAX_BYTES} bytes.")


def _content_length(meta: dict[str, Any]) -> int:
    text = str(meta.get("CONTENT_LENGTH") or "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _body(request: Request) -> tuple[dict[str, Any], StoredUpload | None]:
    """The fields of the request as JSON has them, and the file of a form."""
    data = request.data
    if not isinstance(data, QueryDict):
        if not isinstance(data, dict):
            raise InvalidInput("The body is not a JSON object.")
        return data, None
    upload = request.FILES.get("file")
    if not isinstance(upload, StoredUpload):
        raise InvalidInput(
            "The form has no file named file.", errors=[{"pointer": "/file", "detail": "This field is required."}]
        )
    fields: dict[str, Any] = {
        name: data.get(name) for name in data if name not in ("file", "tags", "csrfmiddlewaretoken")
    }
    if tags := [tag.strip() for text in data.getlist("tags") for tag in str(text).split(",") if tag.strip()]:
        fields["tags"] = tags
    return fields, upload


def _forget(request: Request) -> None:
    for upload in request.FILES.values():
        if isinstance(upload, StoredUpload):
            files.remove(upload.stored)
