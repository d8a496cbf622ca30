"""Middleware of the accounts app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from accounts import logins, sign_in_guard
from accounts.audit import origin
from accounts.models import User
from realtime.actor import Actor, Who, acting


class LoginSessionMiddleware(SessionMiddleware):
    """Django's, and a request keeps its login awake and says where it is used from."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        logins.note_visitor(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        signed_in: User | None = getattr(request, "signed_in", None)
        if signed_in is not None:
            sign_in_guard.remember(response, signed_in.email)
        return response


@sync_and_async_middleware  # one that is only synchronous would hold a thread for each open stream
def actor_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """What a request changes was done by its user, however it was recognised: the API sets ``request.user`` for keys too."""

    async def asynchronous(request: HttpRequest) -> Any:
        with acting(_user_of(request)), origin.answering(request):
            return await get_response(request)

    def synchronous(request: HttpRequest) -> Any:
        with acting(_user_of(request)), origin.answering(request):
            return get_response(request)

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def _user_of(request: HttpRequest) -> Who:
    def who() -> Actor | None:
        user = request.user
        return as_actor(user) if isinstance(user, User) else None

    return who


def as_actor(user: User) -> Actor:
    """Never with the e-mail address: whoever may read the log need not know it."""
    return {"id": str(user.pk), "name": user.name or None}
