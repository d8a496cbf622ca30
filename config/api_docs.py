"""The API's documents to be read: Swagger UI at ``/api/docs``, Redoc at ``/api/redoc``, from local files under the pages' own policy.

Neither asks another server for anything. Redoc writes its styles with the page's nonce; Swagger UI needs none.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    return render(request, "api/swagger.html")


@require_safe
def redoc(request: HttpRequest) -> HttpResponse:
    return render(request, "api/redoc.html")
