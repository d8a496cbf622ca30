"""Who may try a password now. Every door asks here first: our page, the admin, allauth's routes for apps and the SPA.

Three counters, all before the password is looked at (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"):

- ``login``: account and address (or account and device). Above it: 429.
- ``login_ip``: one address, whatever the accounts, but for devices that the account knows. Above it: 429.
- ``login_account``: one account, from devices that its owner never signed in on. Above it the attempt costs a proof of work
  (``accounts.challenges``), the dearer the more attempts there are. So whoever guesses at an account from many addresses pays for
  it, and can neither lock its owner out nor hold up the devices that the owner knows.

A device is known by a signed cookie from an earlier sign-in to that account. When the counters do not answer the door stays shut.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import challenges, limits
from accounts.errors import ChallengeRequired, RateLimited
from accounts.services import client_ip

PROOF_HEADER: Final = "X-Login-Proof"
DEVICE_AGE_S: Final = 180 * 24 * 3600
_SALT: Final = "quorum.known-device"


def admit(request: HttpRequest, email: str, proof: str = "", *, also: str = "") -> None:
    """Counts an attempt on the account, and one of the address under the policy ``also``.

    Raises ``RateLimited``, ``ChallengeRequired``, ``LimiterDown``.
    """
    account = _account(email)
    address, device = client_ip(request), _device(request, account)
    if also:
        limits.spend(request, also, f"{address}", guarded=True)
    limits.spend(request, "login", f"{device or address}|{account}", guarded=True)
    if device is None:
        limits.spend(request, "login_ip", f"{address}", guarded=True)
        _count_strangers(request, account, proof)


def remember(response: HttpResponseBase, email: str) -> None:
    """Makes the browser known to this account; it stays so for half a year, and only to the newest account."""
    value = signing.dumps([_account(email), secrets.token_urlsafe(12)], salt=_SALT)
    response.set_cookie(
        settings.DEVICE_COOKIE_NAME, value, max_age=DEVICE_AGE_S, secure=settings.HTTPS, httponly=True, samesite="Lax"
    )


def _count_strangers(request: HttpRequest, account: str, proof: str) -> None:
    try:
        limits.spend(request, "login_account", account, guarded=True)
    except RateLimited as error:
        bits = _price(error)
        if not challenges.redeem(account, proof, bits):
            raise ChallengeRequired(challenges.issue(account, bits)) from error


def _price(error: RateLimited) -> int:
    """A bit more, which doubles the work, for each doubling of the attempts above the limit."""
    return challenges.BITS + max(0, (error.count // max(1, error.limit)).bit_length() - 1)


def _account(email: str) -> str:
    """Not the address itself: keys of Valkey and cookies are read by more people than the table of users."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def _device(request: HttpRequest, account: str) -> str | None:
    """What names the device, if its owner has signed in to this account on it before."""
    try:
        known, name = signing.loads(
            request.COOKIES.get(settings.DEVICE_COOKIE_NAME, ""), salt=_SALT, max_age=DEVICE_AGE_S
        )
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return str(name) if known == account else None
