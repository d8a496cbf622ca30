"""The keys of programs: given out, recognised, changed, rotated, withdrawn.

``maker`` is the key that asks for a change, None for a person. A key never makes or keeps alive what could do more, or for longer,
than itself; that it may touch keys at all (scope ``admin``) is for the views to see to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts import audit, keyformat, quotas
from accounts.errors import InsufficientScope, KeyEnded, KeyRotating
from accounts.models import ApiKey, User
from accounts.scopes import ALL, Scope, granted
from realtime import nudge
from realtime.errors import Forbidden, InvalidInput, NotFound

LAST_USED_RESOLUTION = timedelta(minutes=1)  # a busy program would otherwise write its key's row on every request
OVERLAP: Final = timedelta(hours=1)
OVERLAP_MAX: Final = timedelta(days=7)
NAME_MAX: Final = 80
_SHOWN_PREFIX = 10  # "qk_" and seven characters: 42 of 255 bits, enough to tell keys apart and no help in guessing
CheckVersion = Callable[[int], None]


def _any_version(version: int) -> None:
    """For callers who have seen none."""


# --- Changes ------------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_api_key(
    user: User,
    name: str,
    expires_at: datetime | None = None,
    *,
    scopes: Iterable[str] = ALL,
    maker: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its plaintext, which is stored nowhere: show it now.

    Raises ``InvalidInput`` for a bad name, a past expiry, no or unknown scopes; ``InsufficientScope`` or ``Forbidden`` for more than
    the maker has; ``QuotaExceeded``.
    """
    name, chosen = _checked_name(name), _checked_scopes(scopes)
    _check_expiry(expires_at)
    _check_maker(maker, chosen, expires_at)
    plaintext = keyformat.generate()
    digest = ApiKey.hash(plaintext)
    prefix = plaintext[:_SHOWN_PREFIX]
    key = ApiKey.objects.create(
        user=user, name=name, scopes=chosen, prefix=prefix, digest=digest, expires_at=expires_at
    )
    quotas.require(user.pk, api_keys=1)
    audit.record("key.created", key, user=user.pk, scopes=chosen)
    return key, plaintext


@transaction.atomic
def change_api_key(
    user: User,
    key_id: UUID,
    changes: Mapping[str, Any],
    check_version: CheckVersion = _any_version,
    maker: ApiKey | None = None,
) -> ApiKey:
    """Another ``name`` or ``expires_at`` (None: no end); never other scopes. Raises as ``create_api_key``, and ``KeyEnded``."""
    key = _locked(user, key_id, check_version)
    _check_lives(key)
    if "name" in changes:
        key.name = _checked_name(changes["name"])
    if "expires_at" in changes:
        key.expires_at = changes["expires_at"]
        _check_expiry(key.expires_at)
    _check_maker(maker, key.scopes, key.expires_at)
    key.version += 1
    key.save(update_fields=["name", "expires_at", "version"])
    audit.record("key.changed", key, user=user.pk, fields=sorted(changes))
    recheck_sockets(user.pk)
    return key


@transaction.atomic
def rotate_api_key(
    user: User,
    key_id: UUID,
    overlap: timedelta = OVERLAP,
    check_version: CheckVersion = _any_version,
    maker: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """A new secret for the key; the present one goes on for ``overlap``, 0 to 7 days.

    At most two secrets of a key work at a time: during an overlap another rotation is ``KeyRotating``, unless its own overlap is 0,
    which ends all older ones at once. Raises also ``InvalidInput``, ``KeyEnded``, and as ``create_api_key`` for a maker.
    """
    if not timedelta(0) <= overlap <= OVERLAP_MAX:
        raise InvalidInput("The old secret may go on for 0 s to 7 days.", code="bad_overlap")
    key = _locked(user, key_id, check_version)
    _check_lives(key)
    _check_maker(maker, key.scopes, key.expires_at)
    now = timezone.now()
    if overlap and key.previous_until is not None and key.previous_until > now:
        raise KeyRotating(key.previous_until)
    plaintext = keyformat.generate()
    key.previous_digest, key.previous_until = (key.digest, now + overlap) if overlap else (None, None)
    key.digest, key.prefix, key.rotated_at = ApiKey.hash(plaintext), plaintext[:_SHOWN_PREFIX], now
    key.version += 1
    key.save(update_fields=["digest", "prefix", "previous_digest", "previous_until", "rotated_at", "version"])
    audit.record("key.rotated", key, user=user.pk, overlap_s=round(overlap.total_seconds()))
    recheck_sockets(user.pk)
    return key, plaintext


def revoke_api_key(key: ApiKey) -> None:
    """Ends a key at once and for ever, with all of its secrets; harmless when it has ended already."""
    with transaction.atomic():
        ended = ApiKey.objects.filter(pk=key.pk, revoked_at=None)
        if ended.update(revoked_at=timezone.now(), version=F("version") + 1):
            audit.record("key.revoked", key, user=key.user_id)
    key.refresh_from_db(fields=["revoked_at", "version"])
    recheck_sockets(key.user_id)


def revoke_checked(user: User, key_id: UUID, check_version: CheckVersion) -> None:
    """``revoke_api_key``, unless the key is another one than the caller has seen. Raises ``NotFound``."""
    with transaction.atomic():
        revoke_api_key(_locked(user, key_id, check_version))


def recheck_sockets(user_id: UUID) -> None:
    """After the commit, every live connection of the user asks again whether it may stay."""
    transaction.on_commit(lambda: nudge.sign_out(user_id), robust=True)


# --- Looking up ---------------------------------------------------------------------------------------------------------


def key_of(user: User, key_id: UUID) -> ApiKey:
    """One of this user's keys; ``NotFound`` also for another user's."""
    return _got(user.api_keys.all(), key_id)


STATUSES: Final = ("active", "expired", "revoked")


def keys_of(user: User, status: str | None = None) -> QuerySet[ApiKey]:
    """This user's keys, those with a status of ``STATUSES`` if one is wanted."""
    over = Q(expires_at__lte=timezone.now())
    match status:
        case None:
            return user.api_keys.all()
        case "active":
            return user.api_keys.filter(~over | Q(expires_at=None), revoked_at=None)
        case "expired":
            return user.api_keys.filter(over, revoked_at=None)
        case "revoked":
            return user.api_keys.filter(revoked_at__isnull=False)
    raise InvalidInput(f"status is one of {', '.join(STATUSES)}.", code="bad_query")


def status_of(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


_KEY_FIELDS = [field.attname for field in ApiKey._meta.concrete_fields]
_USER_FIELDS = [field.attname for field in User._meta.concrete_fields]
_COLUMNS = [
    *(f'key."{field.column}"' for field in ApiKey._meta.concrete_fields),
    *(f'owner."{field.column}"' for field in User._meta.concrete_fields),
]
# Prepared, not made by the ORM: every request of a program runs it, and every socket that comes back after a cut.
_KEY_OWNER = f"""
    SELECT {", ".join(_COLUMNS)} FROM accounts_apikey AS key JOIN accounts_user AS owner ON owner.id = key.user_id
    WHERE (key.digest = %(digest)s OR (key.previous_digest = %(digest)s AND key.previous_until > %(now)s))
    AND key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > %(now)s) AND owner.is_active
"""  # noqa: S608  # names of columns


def live_key(secret: str, address: str | None = None) -> ApiKey | None:
    """The key with this secret and with its active ``user``, else None; the use of it from ``address`` is noted.

    What lacks the form or the checksum is refused unasked. The lookup is by digest, so its time tells nothing about the stored keys,
    and every well-formed key costs the same one hash and one indexed query whether it is unknown, revoked, expired or its user is
    inactive.
    """
    if not keyformat.is_well_formed(secret):
        return None
    key = live_key_by_digest(ApiKey.hash(secret))
    if key is not None:
        _note_use(key, address)
    return key


def live_key_by_digest(digest: bytes) -> ApiKey | None:
    """As ``live_key``, for those who keep the digest of a secret that was shown to them; notes nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_KEY_OWNER, {"digest": digest, "now": timezone.now()})
        found = cursor.fetchone()
    if found is None:
        return None
    key = ApiKey.from_db(connection.alias, _KEY_FIELDS, found[: len(_KEY_FIELDS)])
    key.user = User.from_db(connection.alias, _USER_FIELDS, found[len(_KEY_FIELDS) :])
    key.shown = digest
    return key


def user_for_key(secret: str) -> User | None:
    """The active user behind a live key, else None."""
    key = live_key(secret)
    return None if key is None else key.user


def _note_use(key: ApiKey, address: str | None) -> None:
    now = timezone.now()
    stale = now - LAST_USED_RESOLUTION
    if key.last_used_at is None or key.last_used_at < stale:
        unnoted = Q(last_used_at=None) | Q(last_used_at__lt=stale)
        ApiKey.objects.filter(unnoted, pk=key.pk).update(last_used_at=now, last_used_ip=address)


# --- Checks -------------------------------------------------------------------------------------------------------------


def _locked(user: User, key_id: UUID, check_version: CheckVersion) -> ApiKey:
    key = _got(user.api_keys.select_for_update(no_key=True), key_id)
    check_version(key.version)
    return key


def _got(keys: QuerySet[ApiKey], key_id: UUID) -> ApiKey:
    try:
        return keys.get(pk=key_id)
    except ApiKey.DoesNotExist as error:
        raise NotFound("There is no such key.") from error


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX or "\x00" in name:
        raise InvalidInput(f"A key needs a name of 1 to {NAME_MAX} characters.", code="bad_key_name")
    return name


def _checked_scopes(scopes: Iterable[str]) -> list[str]:
    """In the order of ``Scope``, each once."""
    wanted = set(scopes)
    if not wanted or not wanted <= set(ALL):
        raise InvalidInput(f"A key needs scopes, of these: {', '.join(ALL)}.", code="bad_key_scopes")
    return [str(scope) for scope in Scope if scope in wanted]


def _check_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput("A key must expire in the future.", code="bad_key_expiry")


def _check_lives(key: ApiKey) -> None:
    status = status_of(key, timezone.now())
    if status != "active":
        raise KeyEnded(f"The key is {status}, and stays so.")


def _check_maker(maker: ApiKey | None, scopes: Iterable[str], expires_at: datetime | None) -> None:
    if maker is None:
        return
    wanted = granted(scopes)
    if not wanted <= maker.granted:
        raise InsufficientScope(wanted, maker.granted)
    if maker.expires_at is not None and (expires_at is None or expires_at > maker.expires_at):
        raise Forbidden("A key makes or changes none that works for longer than itself.", code="key_outlives_maker")
