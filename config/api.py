"""Where errors become HTTP: every refusal under ``/api`` is a problem (RFC 9457), never a page and never a traceback.

One table maps classes of errors to statuses, nearest ancestor first. DRF's exceptions carry their own. Anything else is a
fault of ours: 500, logged with its traceback, told to nobody.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from django.views import csrf, defaults
from django.views.decorators.csrf import csrf_exempt
from redis.exceptions import RedisError
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response

from accounts import errors as accounts_errors
from accounts.api.pointers import field_errors
from accounts.limits import refusal_headers
from council import errors as council_errors
from knowledge import errors as knowledge_errors
from realtime import errors
from realtime.errors import FieldError, QuorumError

PROBLEM = "application/problem+json"
RETRY_AFTER_S = 2  # for a store that does not answer: about as long as a restart of PostgreSQL takes
_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")

STATUSES: dict[type[Exception], int] = {
    errors.NotFound: 404,
    errors.Forbidden: 403,
    errors.InvalidInput: 400,
    errors.IllegalState: 409,
    errors.Conflict: 409,
    errors.Unavailable: 503,
    accounts_errors.PreconditionFailed: 412,
    accounts_errors.IdempotencyMismatch: 422,
    accounts_errors.RateLimited: 429,
    accounts_errors.ChallengeRequired: 429,
    knowledge_errors.TooLarge: 413,
    council_errors.Fenced: 409,  # workers discard it; a caller would only ever see that somebody else was faster
    Http404: 404,
    PermissionDenied: 403,
    RequestDataTooBig: 413,
    SuspiciousOperation: 400,
    BadRequest: 400,
    OperationalError: 503,  # refused, broken, timed out, deadlocked, or no connection left in the pool (PoolTimeout)
    InterfaceError: 503,
    RedisError: 503,  # allauth counts some attempts in the cache itself, and is not to let anyone in uncounted
}
_CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    413: "too_large",
    414: "uri_too_long",
    431: "headers_too_large",
    500: "internal_error",
    503: "unavailable",
}
_DETAILS = {
    404: "There is no such resource.",
    500: "Something went wrong on our side. It has been logged under this request_id.",
    503: "A service that this needs does not answer at the moment. Try again in a few seconds.",
}


def status_of(error: BaseException) -> int:
    """The HTTP status of an error: its nearest ancestor in the table, DRF's own, else 500."""
    if isinstance(error, APIException):
        return error.status_code
    return next((STATUSES[ancestor] for ancestor in type(error).__mro__ if ancestor in STATUSES), 500)


def problem_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's ``EXCEPTION_HANDLER``."""
    status = status_of(error)
    if status == 500:
        # Logged with its traceback by whoever listens (django-structlog); test clients raise it again.
        got_request_exception.send(sender=problem_handler, request=context["request"]._request)
    body = problem(context["request"], status, _code(error), _detail(error), _pointers(error))
    body |= getattr(error, "members", {})  # what this kind of error says beside (RFC 9457, 3.2)
    return Response(body, status=status, headers=_headers(error), content_type=PROBLEM)


def problem(
    request: HttpRequest, status: int, code: str = "", detail: str = "", pointers: Iterable[FieldError] = ()
) -> dict[str, Any]:
    """The body of a problem. ``type`` is about:blank (RFC 9457, 4.2.1): ``code`` tells the cases of one status apart."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail or _DETAILS.get(status, ""),
        "code": code or _CODES.get(status, "error"),
        "errors": list(pointers),
        "request_id": request.META.get("HTTP_X_REQUEST_ID", ""),
    }


def _code(error: BaseException) -> str:
    if isinstance(error, QuorumError):
        return error.code
    if isinstance(error, ValidationError):
        return errors.InvalidInput.code
    return str(error.get_codes()) if isinstance(error, APIException) else _CODES.get(status_of(error), "error")


def _detail(error: BaseException) -> str:
    """What the caller may read: our own words and DRF's, never the text of a database or program error."""
    if isinstance(error, QuorumError):
        return error.detail
    if isinstance(error, ValidationError):
        return "The request has wrong fields."
    if isinstance(error, APIException):
        return str(error.detail)
    if isinstance(error, RequestDataTooBig):
        return f"A body may have at most {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."
    if isinstance(error, TooManyFieldsSent | TooManyFilesSent):
        return "There are too many fields."
    return str(error) if isinstance(error, PermissionDenied | BadRequest) else ""


def _pointers(error: BaseException) -> list[FieldError]:
    if isinstance(error, QuorumError):
        return list(getattr(error, "errors", ()))
    return list(field_errors(error.detail)) if isinstance(error, ValidationError) else []


def _headers(error: BaseException) -> dict[str, str]:
    if isinstance(error, accounts_errors.RateLimited):
        return refusal_headers(error)
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    wait = getattr(error, "retry_after", None) or getattr(error, "wait", None)
    if wait or status_of(error) == 503:
        headers["Retry-After"] = str(int(wait or RETRY_AFTER_S))
    return headers


# --- Errors outside DRF's views -----------------------------------------------------------------------------------------


def is_api(request: HttpRequest) -> bool:
    """What programs call: our API, and allauth's routes for the SPA and for apps."""
    if request.path_info.startswith("/_allauth/"):
        return True
    return request.path_info == "/api" or request.path_info.startswith("/api/")


def respond(request: HttpRequest, error: BaseException | None, status: int) -> JsonResponse:
    """The problem of an error (None: of a status alone) for what is no view of DRF's."""
    if error is None:
        return JsonResponse(problem(request, status), status=status, content_type=PROBLEM)
    body = problem(request, status, _code(error), _detail(error), _pointers(error))
    return JsonResponse(body, status=status, headers=_headers(error), content_type=PROBLEM)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """``handler400``: a disallowed host, a body or form above its limit."""
    if is_api(request):
        return respond(request, exception, status_of(exception))
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """``handler403``."""
    return respond(request, exception, 403) if is_api(request) else defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """``handler404``."""
    return respond(request, None, 404) if is_api(request) else defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """``handler500``; Django calls it inside the ``except`` block, so the error is at hand and may be a mere 503."""
    error = sys.exc_info()[1]
    status = 500 if error is None else status_of(error)
    if not is_api(request):
        page = defaults.server_error(request)
        if status == 503:
            page.status_code = 503
            page.headers["Retry-After"] = str(RETRY_AFTER_S)
        return page
    return respond(request, error if status == 503 else None, status if status == 503 else 500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """``CSRF_FAILURE_VIEW``."""
    if is_api(request):
        return JsonResponse(problem(request, 403, "csrf_failed", reason), status=403, content_type=PROBLEM)
    return csrf.csrf_failure(request, reason)


def refusal(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    """An answer of the middleware's own, before there is a view: a problem under ``/api``, one line of text elsewhere."""
    if is_api(request):
        return JsonResponse(problem(request, status, code, detail), status=status, content_type=PROBLEM)
    return HttpResponse(f"{detail}\n", status=status, content_type="text/plain; charset=utf-8")


def too_large(path: str, limit: int) -> HttpResponse:
    """Before there is a request: its body was not read. The id is new, for the headers were not looked at either."""
    request = HttpRequest()
    request.path = request.path_info = path
    request.META["HTTP_X_REQUEST_ID"] = uuid.uuid4().hex
    response = refusal(request, 413, "too_large", f"A body may have at most {limit} bytes.")
    response.headers["X-Request-ID"] = request.META["HTTP_X_REQUEST_ID"]
    response.headers["Content-Length"] = str(len(response.content))
    return response


@csrf_exempt
def unknown_route(request: HttpRequest, rest: str = "") -> JsonResponse:
    """The last route under ``/api/``, so that an unknown path or a malformed id is a problem in debug mode too."""
    return respond(request, None, 404)


@csrf_exempt
def no_phones(request: HttpRequest) -> JsonResponse:
    """allauth's routes for telephone numbers, which nobody gives us and which would fail."""
    return respond(request, None, 404)


# --- Request ids ----------------------------------------------------------------------------------------------------------


@sync_and_async_middleware
def RequestIdMiddleware(  # noqa: N802 (middleware is named like a class in settings)
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Gives every request an id and echoes it: the caller's ``X-Request-ID`` when it is harmless to log, else a new one.

    Stands before django-structlog, which is told to trust the header and so binds this very id to every log line.
    """

    def identify(request: HttpRequest) -> str:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id: str = given if _SAFE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.META["HTTP_X_REQUEST_ID"] = request_id
        return request_id

    if iscoroutinefunction(get_response):

        async def identified_async(request: HttpRequest) -> HttpResponseBase:
            request_id = identify(request)
            response: HttpResponseBase = await get_response(request)
            response.headers["X-Request-ID"] = request_id
            return response

        return identified_async

    def identified(request: HttpRequest) -> HttpResponseBase:
        request_id = identify(request)
        response: HttpResponseBase = get_response(request)
        response.headers["X-Request-ID"] = request_id
        return response

    return identified
