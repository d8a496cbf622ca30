"""What the pages' views share: who may come, how errors of services reach people, and fragments for htmx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.errors import RateLimited
from accounts.limits import spend
from accounts.models import User
from realtime.errors import Conflict, Forbidden, IllegalState, InvalidInput, NotFound, QuorumError, Unavailable

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def page(*methods: str) -> Callable[[View[P]], Callable[..., HttpResponse]]:
    """A page of the signed-in user; what is not theirs does not exist."""

    def decorate(view: View[P]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                return view(request, *args, **kwargs)
            except NotFound as error:
                raise Http404(error.detail) from error
            except Forbidden as error:
                raise PermissionDenied(error.detail) from error

        return never_cache(login_required(require_http_methods(methods)(guarded)))

    return decorate


reading = page("GET", "HEAD")
writing = page("POST")
both = page("GET", "HEAD", "POST")


def person(request: HttpRequest) -> User:
    return cast("User", request.user)


def show(request: HttpRequest, template: str, context: Mapping[str, Any], fragment: str = "") -> HttpResponse:
    """The page, or only its ``fragment`` when htmx asks. Forms with faults answer 400."""
    partial = bool(fragment) and request.headers.get("HX-Request") == "true"
    form = context.get("form")
    status = 400 if isinstance(form, forms.BaseForm) and form.is_bound and form.errors else 200
    response = render(request, fragment if partial else template, dict(context), status=status)
    # One address with two answers: a cache (the browser's own, going back) must not mix them up.
    patch_vary_headers(response, ["HX-Request"])
    return response


def count_write(request: HttpRequest, policy: str = "write") -> None:
    """The same limits as the API's. Raises ``RateLimited``."""
    spend(request, policy, str(person(request).pk))


def blame(form: forms.BaseForm, error: QuorumError, fields: Mapping[str, str] | None = None) -> None:
    """Put a service's error into the form: beside the field that a pointer names (``fields``: first step -> field), else on top."""
    names = {name: name for name in form.fields} | dict(fields or {})
    found = error.errors if isinstance(error, InvalidInput) else []
    for item in found:
        first = next((step for step in item["pointer"].split("/") if step and not step.isdigit()), "")
        form.add_error(names.get(first), item["detail"])
    if not found:
        form.add_error(None, error.detail or error.code)


# What people can do something about; anything else is a fault of ours and is not caught.
EXPECTED = (Conflict, InvalidInput, IllegalState, Unavailable, RateLimited)
