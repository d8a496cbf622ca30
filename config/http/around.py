"""Middleware that looks at a request before the view and at its answer after it, in synchronous and asynchronous chains alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class Around:
    """Django's ``MiddlewareMixin`` hops to a thread and back for each step; these steps do not block and run where they are.

    A subclass whose step may block overrides ``after_async``.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async: bool = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answered(request)
        early = self.before(request)
        return self.after(request, self.get_response(request) if early is None else early)

    async def _answered(self, request: HttpRequest) -> HttpResponseBase:
        early = self.before(request)
        return await self.after_async(request, await self.get_response(request) if early is None else early)

    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        """An answer that makes the view unnecessary, or None."""
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response

    async def after_async(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return self.after(request, response)
