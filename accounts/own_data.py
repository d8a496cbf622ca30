"""What accounts itself knows of a person, as files of an export. No secrets: of a key what tells it from others, of a second factor that
it exists."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q
from django.utils import timezone

from accounts import usage
from accounts.holdings import Member
from accounts.models import LoginSession, User, UserEvent
from accounts.models_audit import AuditEntry

Json = dict[str, Any]

FORMAT: Final = 1
README: Final = """\
Everything that Quorum keeps of you.

account.json         your profile, e-mail addresses, second factors, API keys and webhooks (without their secrets) and present logins
sign-ins.jsonl       every attempt to sign in to your account
news.jsonl           your own stream: what you were told of your councils and packs
audit.jsonl          what the audit log says of you and of what you did
usage.json           tokens, money and calls, by day
packs/*.jsonl        your knowledge packs; each can be imported again
councils/*.json      the complete records of your councils, with the prompts
council-templates.json
"""
_KEY: Final = (
    "id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at", "last_used_ip", "rotated_at", "revoked_at",
)  # fmt: skip
_WEBHOOK: Final = ("id", "url", "events", "description", "enabled", "disabled_reason", "created_at")
_AUDIT: Final = (
    "id", "created_at", "action", "outcome", "actor_kind", "object_type", "object_id", "object_name", "details", "ip", "user_agent",
)  # fmt: skip


def members(user: User) -> Iterator[Member]:
    yield Member("README.txt", [README.encode()])
    yield Member("account.json", [document(account(user))])
    sign_ins = user.sign_ins.order_by("at", "pk").values("at", "succeeded", "ip", "user_agent")
    yield Member("sign-ins.jsonl", lines(sign_ins.iterator(1000)))
    news = UserEvent.objects.filter(stream=user.pk).order_by("seq").values("seq", "type", "created_at", "payload")
    yield Member("news.jsonl", lines(news.iterator(1000)))
    yield Member("audit.jsonl", lines(_audit(user)))
    now = timezone.now()
    yield Member("usage.json", [document(usage.report(user, user.date_joined, now + timedelta(days=1)))])


def account(user: User) -> Json:
    return {
        "quorum_account": FORMAT,
        "exported_at": timezone.now(),
        "id": user.pk,
        "email": user.email,
        "name": user.name,
        "joined_at": user.date_joined,
        "last_login": user.last_login,
        "addresses": list(EmailAddress.objects.filter(user=user).values("email", "verified", "primary")),
        "second_factors": list(Authenticator.objects.filter(user=user).values("type", "created_at", "last_used_at")),
        "accounts_elsewhere": list(
            SocialAccount.objects.filter(user=user).values("provider", "uid", "date_joined", "extra_data")
        ),
        "api_keys": list(user.api_keys.order_by("created_at").values(*_KEY)),
        "webhooks": list(user.webhooks.order_by("created_at").values(*_WEBHOOK)),
        "logins": list(
            LoginSession.objects.filter(user=user).values("id", "created_at", "last_seen_at", "ip", "user_agent")
        ),
    }


def _audit(user: User) -> Iterator[Json]:
    """Of what others did to the account, not from where and with what they did it: that is theirs."""
    about = Q(actor_id=user.pk) | Q(object_type="user", object_id=str(user.pk))
    for entry in AuditEntry.objects.filter(about).order_by("created_at", "id").iterator(1000):
        own = entry.actor_id == user.pk
        hidden = () if own else ("ip", "user_agent")
        yield {**{name: getattr(entry, name) for name in _AUDIT if name not in hidden}, "by_you": own}


def document(value: Any) -> bytes:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2).encode() + b"\n"


def lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    return (json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False).encode() + b"\n" for row in rows)
