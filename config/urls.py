"""Every URL: the admin, the pages, the API (one prefix), health and the schema."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView

from config import api, health, live

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("accounts.urls")),
    path("api/", include("knowledge.api.urls")),
    path("api/", include("council.api.urls")),
    path("api/", include("accounts.api.tickets")),
    path("api/", include("accounts.api.me")),
    path("api/", include("accounts.api.profile")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/asyncapi.json", live.AsyncApiView.as_view(), name="asyncapi"),
    path("api/asyncapi.yaml", live.AsyncApiYamlView.as_view(), name="asyncapi-yaml"),
    re_path(r"^api(?:/(?P<rest>.*))?$", api.unknown_route),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("", include("council.pages.urls")),
]

handler400 = "config.api.bad_request"
handler403 = "config.api.forbidden"
handler404 = "config.api.not_found"
handler500 = "config.api.server_error"
