"""Plain pages: signing in, and the keys of one's programs."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from accounts import keys as api_keys
from accounts import second_factor, services
from accounts.errors import ChallengeRequired, RateLimited
from accounts.forms import AdminSignInForm, ApiKeyForm, RotateKeyForm, SignInForm
from accounts.limits import refusal_headers
from accounts.models import ApiKey, User
from realtime.errors import IllegalState, NotFound


class SignIn(LoginView):
    """429 or 503 when attempts are turned away unread, so that programs notice as well."""

    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        ways = {"signup_open": settings.SIGNUP_OPEN, "single_sign_on": settings.OIDC_NAME}
        return {**super().get_context_data(**kwargs), **ways}

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """The password was right; allauth asks for what else there is, an address to verify or a second factor."""
        user = form.get_user()
        login = Login(user=user, email=user.email, redirect_url=self.get_success_url())
        response: HttpResponse = perform_password_login(self.request, {"email": user.email}, login)
        return response

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_invalid(form)
        refusal = cast("SignInForm", form).refusal
        if isinstance(refusal, RateLimited):
            response.status_code = 429
            for name, value in refusal_headers(refusal).items():
                response.headers[name] = value
        elif isinstance(refusal, ChallengeRequired):
            response.status_code = 429
        elif refusal is not None:
            response.status_code = 503
            response.headers["Retry-After"] = str(refusal.retry_after)
        return response


class AdminSignIn(SignIn):
    """The admin's own door, for staff. One who is in and lacks the second factor is sent to show it."""

    template_name = "admin/login.html"
    authentication_form = AdminSignInForm
    redirect_authenticated_user = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request.user
        if request.method == "GET" and user.is_authenticated and user.is_staff:
            return redirect(second_factor.way_to_admin(request, user, self.get_success_url()))
        return super().dispatch(request, *args, **kwargs)

    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shown = {"title": "Log in", "subtitle": None, "app_path": self.request.get_full_path()}
        return {**super().get_context_data(**kwargs), **admin.site.each_context(self.request), **shown}


@never_cache
@sensitive_variables("plaintext")
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    """The caller's keys. A new key is shown in the answer to the POST itself: no other place ever holds its plaintext."""
    user = cast("User", request.user)
    form = ApiKeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        key, plaintext = services.create_api_key(user, data["name"], data["expires_on"], scopes=data["scopes"])
        return _keys_page(request, ApiKeyForm(), key, plaintext)
    return _keys_page(request, form)


@never_cache
@sensitive_variables("plaintext")
@login_required
@require_POST
def rotate_key(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """As above: the new secret is in the answer."""
    user, form = cast("User", request.user), RotateKeyForm(request.POST)
    try:
        api_keys.key_of(user, key_id)
        if not form.is_valid():
            messages.error(request, "Choose for how long the old key works.")
            return redirect("accounts:keys")
        key, plaintext = api_keys.rotate_api_key(user, key_id, form.cleaned_data["overlap"])
    except NotFound as error:
        raise Http404(error.detail) from error
    except IllegalState as error:
        messages.error(request, error.detail)
        return redirect("accounts:keys")
    return _keys_page(request, ApiKeyForm(), key, plaintext)


@sensitive_variables("plaintext")
def _keys_page(
    request: HttpRequest, form: ApiKeyForm, new_key: ApiKey | None = None, plaintext: str = ""
) -> HttpResponse:
    now = timezone.now()
    listed = [
        {
            "key": key,
            "status": api_keys.status_of(key, now),
            "overlaps": key.previous_until is not None and key.previous_until > now,
        }
        for key in api_keys.keys_of(cast("User", request.user)).order_by("-created_at", "-id")
    ]
    context = {"form": form, "keys": listed, "new_key": new_key, "plaintext": plaintext, "rotate_form": RotateKeyForm()}
    return render(request, "accounts/keys.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def revoke_key(request: HttpRequest, key_id: UUID) -> HttpResponse:
    try:
        key = services.key_of(cast("User", request.user), key_id)
    except NotFound as error:
        raise Http404(error.detail) from error
    services.revoke_api_key(key)
    messages.success(request, f"The key “{key.name}” no longer works.")
    return redirect("accounts:keys")
