"""Every URL: the admin, the pages, the API (one prefix), health and the schema."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView

from accounts.views import AdminSignIn
from config import api, api_docs, health, live

urlpatterns = [
    path("admin/login/", AdminSignIn.as_view()),  # admin:login leads here: it counts, and asks for the second factor
    path("accounts/", include("accounts.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("accounts/social/", include("allauth.socialaccount.urls")),
    path("accounts/", include("allauth.socialaccount.providers.openid_connect.urls")),
    path("admin/", admin.site.urls),
    re_path(r"^_allauth/.*phone", api.no_phones, name="no-phones"),  # nobody gives us a telephone number
    path("_allauth/", include("allauth.headless.urls")),
    path("api/", include("knowledge.api.urls")),
    path("api/", include("council.api.urls")),
    path("api/", include("accounts.api.tickets")),
    path("api/", include("accounts.api.me")),
    path("api/", include("accounts.api.api_keys")),
    path("api/", include("accounts.api.webhooks")),
    path("api/", include("accounts.api.audit")),
    path("api/", include("accounts.api.profile")),
    path("api/", include("accounts.api.account")),
    path("api/", include("accounts.api.usage")),
    path("api/", include("accounts.api.activity")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", api_docs.swagger, name="api-docs"),
    path("api/redoc", api_docs.redoc, name="api-redoc"),
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
