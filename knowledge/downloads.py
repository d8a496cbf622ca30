"""Exports as HTTP responses, for the API and the admin."""

from __future__ import annotations

from django.http import HttpRequest, StreamingHttpResponse

from accounts.api.files import download
from knowledge import exports
from knowledge.models import KnowledgePack


def export_response(request: HttpRequest, pack: KnowledgePack, form: str) -> StreamingHttpResponse:
    """The pack as a file to download, made while it is sent. ``form`` is one of ``exports.MEDIA_TYPES``."""
    pieces = exports.export(pack, form)
    return download(request, pieces, exports.MEDIA_TYPES[form], exports.filename(pack, form))
