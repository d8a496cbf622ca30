"""The second factor (allauth.mfa), and the admin, which asks for it."""

from __future__ import annotations

from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from accounts import vault


def has_one(user: AbstractBaseUser) -> bool:
    return bool(is_mfa_enabled(user))


def was_shown(request: HttpRequest) -> bool:
    """Whether it was asked for and given in this very login. allauth writes that down in the session."""
    user = request.user if isinstance(request.user, AbstractBaseUser) else None
    return any(record["method"] == "mfa" for record in get_authentication_records(request, user))


def may_enter_admin(request: HttpRequest) -> bool:
    """Staff, who have shown their second factor if they have one or must have one (``ADMIN_REQUIRES_MFA``)."""
    user: AbstractBaseUser | AnonymousUser = request.user
    if not (user.is_active and getattr(user, "is_staff", False)):
        return False
    if was_shown(request):
        return True
    return not settings.ADMIN_REQUIRES_MFA and not has_one(user)


def way_to_admin(request: HttpRequest, user: AbstractBaseUser, target: str) -> str:
    """Where one of the staff who is signed in goes next: to ``target``, to the second factor, or to setting one up."""
    if may_enter_admin(request):
        return target
    if has_one(user):
        return f"{reverse('mfa_reauthenticate')}?{urlencode({'next': target})}"
    return reverse("mfa_index")


def reseal() -> int:
    """Seals what every factor is made from anew (``accounts.vault``); says how many there were. In a transaction. ``SealBroken``."""
    factors = list(Authenticator.objects.select_for_update().filter(data__has_any_keys=["secret", "seed"]))
    for factor in factors:
        factor.data |= {name: vault.reseal(factor.data[name]) for name in ("secret", "seed") if name in factor.data}
        factor.save(update_fields=["data"])
    return len(factors)
