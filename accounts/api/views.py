"""The base of every API view: strict input, problems as errors, entity tags, limits, and POSTs that may be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from accounts import idempotency
from accounts.api import conditions, counting
from accounts.api import scopes as doors
from accounts.api.pagination import CursorPagination, refuse_unknown
from accounts.api.validation import validate
from accounts.models import ApiKey, User
from accounts.scopes import Needs, Scope
from realtime.errors import InvalidInput

_M = TypeVar("_M", bound=Model)
_Handler = Callable[..., HttpResponseBase]
_REPLAYED_HEADERS = ("Content-Type", "ETag", "Location", "Retry-After")


class ApiView(APIView):
    """Views of the project validate, call one service and render; the rest of HTTP is done here.

    A POST with an ``Idempotency-Key`` runs inside one transaction with the record of its answer (``accounts.idempotency``),
    so its handler must not do slow I/O and must not need ``atomic(durable=True)``.
    """

    rate_policies: ClassVar[Mapping[str, str]] = counting.CLASSES
    pagination_class: ClassVar[type[CursorPagination]] = CursorPagination
    filter_names: ClassVar[frozenset[str]] = frozenset()  # query parameters of its list, besides those of the page
    # What an API key needs for each method (``accounts.scopes``). Nothing said is nothing allowed, and a failing check at start.
    scopes: ClassVar[Needs] = {}

    # --- What handlers call ---

    @property
    def user(self) -> User:
        """The caller; only in views that require one."""
        user = self.request.user
        if not isinstance(user, User):
            raise TypeError(f"{type(self).__name__} asked for a user but lets anonymous callers in")
        return user

    @property
    def key(self) -> ApiKey | None:
        """The key that the caller showed; None for people with a session."""
        return self.request.auth if isinstance(self.request.auth, ApiKey) else None

    def require_scopes(self, *needed: Scope) -> None:
        """For what a key needs beside its method's scopes, where only the request shows it. Raises ``InsufficientScope``."""
        doors.require(self.request, *needed)

    def validated(
        self,
        serializer_class: type[BaseSerializer[Any]],
        data: Any = None,
        *,
        partial: bool = False,
        many: bool = False,
    ) -> Any:
        """The body (or ``data``) in the serializer's shape: a dict, or a list with ``many``. Raises ``InvalidInput``."""
        body = self.request.data if data is None else data
        serializer = serializer_class(data=body, partial=partial, many=many, context=self._context())
        return validate(serializer, body)

    def paginated(self, queryset: QuerySet[_M], serializer_class: type[BaseSerializer[Any]]) -> Response:
        """One page: ``{next, previous, results}``. A parameter that is neither the page's nor in ``filter_names`` is ``InvalidInput``."""
        paginator = self.pagination_class()
        refuse_unknown(self.request, paginator.parameters | self.filter_names)
        rows = paginator.paginate_queryset(queryset, self.request, self)
        return paginator.get_paginated_response(serializer_class(rows, many=True, context=self._context()).data)

    def single(self, data: Mapping[str, Any], version: int, status: int = 200) -> Response:
        """One object with its strong entity tag; 304 without a body when a GET's ``If-None-Match`` names this very body."""
        headers = {"ETag": conditions.etag(version, data)}
        reading = self.request.method in ("GET", "HEAD")
        if reading and conditions.names(self.request.headers.get("If-None-Match"), headers["ETag"]):
            return Response(status=304, headers=headers)
        return Response(data, status=status, headers=headers)

    def check_if_match(self, version: int) -> None:
        """Refuses a stale ``If-Match``. Call it with the version read **under the row's lock**, else two writers both pass."""
        conditions.require_match(self.request.headers.get("If-Match"), version)

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]  # DRF takes any HttpResponseBase
        """What may be done here is in ``Allow``, and what it takes and gives in the OpenAPI document."""
        return HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    # --- The course of a request ---

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """As DRF's, but the handler of a POST goes through ``_once``. DRF leaves no smaller seam around the handler."""
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            self.initial(self.request, *args, **kwargs)
            handler = self._handler()
            response = self._once(handler) if request.method == "POST" else self._run(handler)
        except Exception as error:  # noqa: BLE001 (the boundary: config.api turns every error into a problem)
            response = self.handle_exception(error)
        return self._finalized(response)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        _buffer_body(request)  # first: the CSRF check of a session looks for its token in the body
        super().initial(request, *args, **kwargs)
        if any("\x00" in part for pair in request.query_params.lists() for part in (pair[0], *pair[1])):
            raise InvalidInput("The query string contains a NUL character.", code="bad_query")

    def check_permissions(self, request: Request) -> None:
        """Scopes last, for a stranger is to hear that they are one; and before any object is looked up."""
        super().check_permissions(request)
        doors.check(request, self)

    def check_throttles(self, request: Request) -> None:
        """Counts the request under the class of its method. What is refused before (no key, a wrong one) is counted by address, and
        the headers are written, by ``config.http.limit_headers``."""
        policy = self.rate_policies.get(request.method or "", "write")
        counting.count(request._request, policy, request.user if isinstance(request.user, User) else None)

    def _handler(self) -> _Handler:
        name = (self.request.method or "").lower()
        known = name in self.http_method_names
        handler: _Handler = getattr(self, name, self.http_method_not_allowed) if known else self.http_method_not_allowed
        return handler

    def _run(self, handler: _Handler) -> HttpResponseBase:
        return handler(self.request, *self.args, **self.kwargs)

    def _finalized(self, response: HttpResponseBase) -> HttpResponseBase:
        response = super().finalize_response(self.request, response, *self.args, **self.kwargs)  # type: ignore[arg-type]  # DRF takes any HttpResponseBase
        response.headers.setdefault(
            "Cache-Control", "private, no-cache"
        )  # kept by its reader only, and asked for again
        return response

    def _context(self) -> dict[str, Any]:
        return {"request": self.request, "view": self}

    # --- Idempotency-Key ---

    def _once(self, handler: _Handler) -> HttpResponseBase:
        key = self.request.headers.get("Idempotency-Key")
        if key is None or not isinstance(self.request.user, User):
            return self._run(handler)
        if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
            raise InvalidInput(
                "An Idempotency-Key has 1 to 255 printable ASCII characters.", code="bad_idempotency_key"
            )
        found = idempotency.begin(self.request.user, key, _fingerprint(self.request, self.body_for_fingerprint()))
        return _replay(found) if isinstance(found, idempotency.Answer) else self._claimed(found, handler)

    def body_for_fingerprint(self) -> bytes:
        """What of the body makes two requests the same; views that take uploads do not hold them in memory for this."""
        return self.request._request.body

    def _claimed(self, claim: idempotency.Claim, handler: _Handler) -> HttpResponseBase:
        """Runs the handler; its changes and the stored answer are committed together or not at all."""
        try:
            with transaction.atomic():
                response = self._run(handler)
                self._keep(claim, response)
        except Exception as error:  # noqa: BLE001 (the same boundary as in dispatch; what follows needs the response)
            response = self.handle_exception(error)
            self._keep(claim, response)
        return response

    def _keep(self, claim: idempotency.Claim, response: HttpResponseBase) -> None:
        if response.status_code >= 500:
            idempotency.release(claim)
        else:
            idempotency.finish(claim, self._frozen(response))

    def _frozen(self, response: HttpResponseBase) -> idempotency.Answer:
        """The response as it will go out; rendering it here puts a failure to render inside the transaction."""
        self._finalized(response)
        if not isinstance(response, HttpResponse):
            raise TypeError("a streamed answer to a POST cannot be repeated; answer with a Response")
        if isinstance(response, Response):
            response.render()
        headers = {name: response.headers[name] for name in _REPLAYED_HEADERS if name in response.headers}
        return idempotency.Answer(response.status_code, headers, self._repeated_content(response))

    def repeated(self, data: Any) -> Any:
        """What of an answer's data is kept for a repetition: all, except where a view shows a secret once that nothing may store."""
        return data

    def _repeated_content(self, response: HttpResponse) -> bytes:
        if not isinstance(response, Response) or (data := self.repeated(response.data)) is response.data:
            return response.content
        kept = Response(data, status=response.status_code)
        self._finalized(kept)
        kept.render()
        return bytes(kept.content)


def _replay(answer: idempotency.Answer) -> HttpResponse:
    headers = {**answer.headers, "Idempotency-Replayed": "true"}
    return HttpResponse(answer.body, status=answer.status, headers=headers)


def _fingerprint(request: Request, body: bytes) -> bytes:
    """SHA-256 over what makes two requests the same; a trailing slash makes no difference (``urls.route``)."""
    digest = hashlib.sha256()
    for part in (request.method or "", request.path.rstrip("/"), request.META["QUERY_STRING"], _media_type(request)):
        digest.update(part.encode() + b"\x00")
    digest.update(body)
    return digest.digest()


def _buffer_body(request: Request) -> None:
    """Reads the body once, within the limit, and tells DRF its length.

    A chunked body carries no Content-Length; Django then checks no limit and DRF takes the body for empty.
    Uploads (multipart) are left to their parsers.
    """
    http = request._request
    if (http.content_type or "").startswith("multipart/"):
        return
    body = http.body
    if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise RequestDataTooBig(f"A body may have at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes.")
    http.META["CONTENT_LENGTH"] = str(len(body))


def _media_type(request: Request) -> str:
    """Without parameters: the boundary of a form is another one each time that it is sent."""
    return request.content_type.partition(";")[0].strip().lower()
