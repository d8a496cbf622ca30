"""What a model call can end in, other than a reply.

    LlmError
    ├── RateLimited        429                                  retryable (not: the account's quota is used up)
    ├── ServerError        5xx, 408, 409, 425, errors in the stream  retryable
    ├── Unreachable        connect refused, reset, DNS, TLS      retryable
    ├── ModelTimeout       the request's own deadline passed     retryable
    ├── CutStream          the stream ended in the middle        retryable
    ├── Malformed          not the protocol at all               retryable
    ├── EmptyReply         nothing but white space               retryable
    ├── TooLong            cut off by the token limit            retryable
    ├── Limited            our own limits of the model left no room in time   retryable
    ├── ToolsRefused       the server does not let the model call tools   retryable
    ├── BadRequest         400, 404, 413, 422, 3xx ...           permanent
    ├── AuthFailed         401, 402, 403                         permanent
    ├── Refused            content filter or refusal             permanent
    ├── AddressBlocked     the model's name leads where it may not   permanent
    ├── PromptTooLong      the prompt does not fit the model     permanent
    └── Cancelled          we ended it ourselves                 permanent

    RealModelForbidden     a program error, not a model's: the guard of ``client.ALLOW_REAL_MODELS``

Whether to try again is an attribute, so that callers never enumerate classes, and so is whether the model is to ``blame``. ``usage``
is what the failed attempt cost; it is set by the client on every error, for failed attempts are charged as well.
"""

from __future__ import annotations

import email.utils
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from council.llm.types import Usage

DETAIL_CHARS = 500  # servers echo prompts in their errors; a log line need not


class RealModelForbidden(RuntimeError):
    """A call to anything but this machine while ``client.ALLOW_REAL_MODELS`` is False."""


class LlmError(Exception):
    """Base of all; ``code`` is stable and may be stored, ``detail`` is for people.

    ``retry_after`` is in seconds, None when the server named no time. ``status`` is the HTTP status or None.
    """

    code: ClassVar[str] = "llm_error"
    blame: ClassVar[bool] = True  # False: it was no fault of the model's, and is not counted against the turn
    retryable: bool = False

    def __init__(
        self,
        detail: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        self.detail = detail[:DETAIL_CHARS]
        self.status = status
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable
        self.usage: Usage | None = None
        super().__init__(self.detail)

    def __str__(self) -> str:
        status = f" ({self.status})" if self.status else ""
        return f"{self.code}{status}: {self.detail}" if self.detail else f"{self.code}{status}"


class RateLimited(LlmError):
    code = "rate_limited"
    retryable = True


class ServerError(LlmError):
    code = "server_error"
    retryable = True


class Unreachable(LlmError):
    code = "unreachable"
    retryable = True


class ModelTimeout(LlmError):
    code = "timeout"
    retryable = True


class CutStream(LlmError):
    code = "cut_stream"
    retryable = True


class Malformed(LlmError):
    code = "malformed"
    retryable = True


class EmptyReply(LlmError):
    code = "empty_reply"
    retryable = True


class TooLong(LlmError):
    code = "too_long"
    retryable = True


class Limited(LlmError):
    code = "limited"
    blame = False
    retryable = True


class ToolsRefused(LlmError):
    """The dialogue begins anew without tools; the server is remembered (``dialect.Dialect.tools``)."""

    code = "tools_refused"
    blame = False
    retryable = True


class BadRequest(LlmError):
    code = "bad_request"


class AuthFailed(LlmError):
    code = "auth_failed"


class Refused(LlmError):
    code = "refused"


class AddressBlocked(LlmError):
    code = "address_blocked"


class PromptTooLong(LlmError):
    code = "prompt_too_long"


class Cancelled(LlmError):
    code = "cancelled"


_RETRYABLE_4XX = {408, 409, 425}
_AUTH = {401, 402, 403}
_FILTER_CODES = {"content_filter", "content_policy_violation"}


def from_status(status: int, body: object, headers: Mapping[str, str] | None = None) -> LlmError:
    """The error for an HTTP answer other than 2xx. ``body`` is the decoded JSON, or the text when it was none."""
    detail = message_of(body)
    if status == 429:
        wait = retry_after_seconds(headers or {})
        return RateLimited(detail, status=status, retry_after=wait, retryable=code_of(body) != "insufficient_quota")
    if status >= 500 or status in _RETRYABLE_4XX:
        return ServerError(detail, status=status, retry_after=retry_after_seconds(headers or {}))
    if status in _AUTH:
        return AuthFailed(detail, status=status)
    if code_of(body) in _FILTER_CODES:
        return Refused(detail, status=status)
    return BadRequest(detail, status=status)


def message_of(body: object) -> str:
    """The human sentence of an error body. Servers differ: ``{"error": {"message"}}``, ``{"error": "…"}``,
    ``{"detail": […]}``.
    """
    if isinstance(body, str):
        return body
    error = _inner(body)
    message = error.get("message") if error else None
    return message if isinstance(message, str) else json.dumps(body, ensure_ascii=False, default=str)


def code_of(body: object) -> str:
    error = _inner(body) or {}
    return str(error.get("code") or error.get("type") or "")


def _inner(body: object) -> Mapping[str, object] | None:
    """The SDKs hand over the body with or without its ``error`` envelope, so accept both."""
    if not isinstance(body, Mapping):
        return None
    error = body.get("error", body)
    return error if isinstance(error, Mapping) else {"message": error}


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """``Retry-After`` in seconds or as an HTTP-date (RFC 9110, section 10.2.3); Azure's ``retry-after-ms`` is finer
    and wins.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    return seconds if seconds is not None or value is None else _until(value, now or datetime.now(UTC))


def _number(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None


def _until(value: str, now: datetime) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None  # a header we cannot read is a header not sent
    if moment.tzinfo is None:  # "-0000" means UTC without a claim about the place (RFC 5322, section 3.3)
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
