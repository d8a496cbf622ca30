"""Every kind of live stream, and the AsyncAPI document that describes them. A new stream is its import and its name here."""

from __future__ import annotations

from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.events import OWN
from accounts.scopes import ANY_KEY
from council.event_types import COUNCIL_SESSIONS
from knowledge.event_types import KNOWLEDGE_PACKS
from realtime import asyncapi
from realtime.schemas import StreamSchema

STREAMS: Final[tuple[StreamSchema, ...]] = (COUNCIL_SESSIONS, KNOWLEDGE_PACKS, OWN)


@cache
def document(public_url: str, cookie: str) -> dict[str, Any]:
    url = urlsplit(public_url)
    version = str(settings.SPECTACULAR_SETTINGS["VERSION"])
    return asyncapi.document(STREAMS, host=url.netloc, secure=url.scheme == "https", cookie=cookie, version=version)


class AsyncApiView(ApiView):
    """GET /api/asyncapi.json"""

    permission_classes = [AllowAny]
    scopes = ANY_KEY

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response | HttpResponse:
        return Response(document(settings.PUBLIC_URL, settings.SESSION_COOKIE_NAME))


class AsyncApiYamlView(AsyncApiView):
    """GET /api/asyncapi.yaml"""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        described = document(settings.PUBLIC_URL, settings.SESSION_COOKIE_NAME)
        text = yaml.dump(described, Dumper=_NoAliases, sort_keys=False, allow_unicode=True)
        return HttpResponse(text, content_type="application/yaml")


class _NoAliases(yaml.SafeDumper):
    """Writes a part that occurs twice out twice: not every reader knows anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
