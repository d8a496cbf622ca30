"""Middleware of our own."""

from __future__ import annotations

from csp.constants import UNSAFE_EVAL, UNSAFE_INLINE
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin


class AdminCspMiddleware(MiddlewareMixin):
    """The admin's pages, and only those, may evaluate scripts and style inline: unfold's Alpine does not work without.

    Stands behind django-csp's middleware, which reads ``_csp_update`` when the response comes back to it.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if request.path.startswith(reverse("admin:index")):
            response._csp_update = {"script-src": [UNSAFE_EVAL], "style-src": [UNSAFE_INLINE]}  # type: ignore[attr-defined]  # django-csp's
        return response
