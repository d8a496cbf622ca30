"""Forms of the sign-in and key pages."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.forms import AuthenticationForm as UnfoldAuthenticationForm

from accounts import services, sign_in_guard
from accounts.errors import ChallengeRequired, LimiterDown, RateLimited
from accounts.keys import NAME_MAX
from accounts.scopes import MEANINGS


class CountedSignIn(AuthenticationForm):
    """Has each attempt counted (``sign_in_guard``) before it looks at the password, and leaves a trace of those that fail.

    It sits in the form because the sign-in page and the admin share nothing else. ``refusal`` says why an attempt was
    turned away unread: too many of them, work that was not done, or no way of counting them (the door stays shut then).
    """

    policy: ClassVar[str] = ""  # of a counter of addresses besides the common ones
    refusal: RateLimited | ChallengeRequired | LimiterDown | None = None
    proof = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)  # js/proof.js fills it in

    def clean(self) -> dict[str, Any]:
        email = self.cleaned_data.get("username", "")
        self._count(email)
        try:
            cleaned: dict[str, Any] = super().clean() or {}
        except ValidationError:
            services.record_sign_in(self.request, email, succeeded=False)
            raise
        return cleaned

    def _count(self, email: str) -> None:
        if self.request is None:
            raise TypeError("the sign-in form needs the request, to count attempts by address")
        try:
            sign_in_guard.admit(self.request, email, self.cleaned_data.get("proof", ""), also=self.policy)
        except (RateLimited, ChallengeRequired, LimiterDown) as error:
            self.refusal = error
            self._set_challenge(getattr(error, "challenge", ""))
            raise ValidationError(error.detail, code=error.code) from error

    def _set_challenge(self, challenge: str) -> None:
        """The form that is shown again asks for the work, and does not repeat the old answer."""
        self.data = self.data.copy()  # type: ignore[attr-defined]  # a QueryDict
        self.data["proof"] = ""  # type: ignore[index]  # the copy may be changed
        self.fields["proof"].widget.attrs["data-challenge"] = challenge


class SignInForm(CountedSignIn):
    """Email and password."""

    error_messages = {
        "invalid_login": "Email and password do not match an active account.",
        "inactive": "Email and password do not match an active account.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "Email"
        self.fields["username"].widget.attrs |= {"type": "email", "autocomplete": "username", "inputmode": "email"}


class AdminSignInForm(CountedSignIn, UnfoldAuthenticationForm):
    """The same door for staff, in the admin's dress (``UNFOLD["LOGIN"]["form"]``), with a throttle of its own besides."""

    policy = "login_admin"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["proof"].widget.attrs["form"] = "login-form"  # the template has no place for it inside


class ApiKeyForm(forms.Form):
    """A name, what the key may do, and a day after which it no longer works."""

    name = forms.CharField(max_length=NAME_MAX, help_text="What will use it, for example “nightly import”.")
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=[(str(scope), f"{scope}: {meaning}") for scope, meaning in MEANINGS.items()],
        widget=forms.CheckboxSelectMultiple,
        help_text="As little as it needs: whoever finds the key may do the same.",
    )
    expires_on = forms.DateField(
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="The last day it works (UTC). Empty: for ever.",
    )

    def clean_expires_on(self) -> datetime | None:
        """The end of that day, UTC."""
        day = self.cleaned_data["expires_on"]
        if day is None:
            return None
        try:
            end = datetime.combine(day, time(), tzinfo=timezone.get_default_timezone()) + timedelta(days=1)
        except OverflowError as error:
            raise ValidationError("That is too far away.") from error
        if end <= timezone.now():
            raise ValidationError("That day is over.")
        return end


class RotateKeyForm(forms.Form):
    """For how long the old secret goes on."""

    overlap = forms.TypedChoiceField(
        label="The old key works for",
        choices=[("3600", "1 hour more"), ("86400", "1 day more"), ("604800", "7 days more"), ("0", "no longer")],
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
    )
