"""Deleting an account.

Asking for it ends at once what could act for the person: councils that run, keys, logins with their sockets. Nothing else changes for
``ACCOUNT_GRACE_DAYS``; whoever signs in again calls it off, and so can staff. Then the purge begins, and there is no way back.

The purge goes in steps, each a transaction of its own (``holdings`` of the apps above, the uppermost first, then what accounts itself
has, in pieces: the ORM cannot delete a person with a hundred thousand entries in one statement). A worker that is killed leaves nothing
half done, any number may be at it, and the cleaner ``departures`` goes on until the row is gone. The person's own row goes last, under
its lock, when nothing names it any more; what the audit log said of them is erased before.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import audit, exports, holdings, keys, logins
from accounts.audit import retention
from accounts.errors import LastSuperuser
from accounts.models import Departure, User, UserEvent, UserStream
from realtime import nudge
from realtime.cleaning import Cleaning, in_turn
from realtime.failpoints import failpoint

ROWS: Final = 1000  # in one step


# --- Asking, and calling it off -----------------------------------------------------------------------------------------


def ask(user: User) -> Departure:
    """The account is to be deleted; asked again, nothing changes. Not in a transaction. Raises ``LastSuperuser``."""
    _refuse_last_superuser(user)
    for holding in holdings.every():
        holding.quiet(user)
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)  # two at once ask one after the other
        due = timezone.now() + timedelta(days=settings.ACCOUNT_GRACE_DAYS)
        departure, new = Departure.objects.get_or_create(user=user, defaults={"due_at": due})
        if new:
            _lock_out(user)
            audit.record("user.deletion_asked", user, due=departure.due_at.isoformat())
    return departure


def _lock_out(user: User) -> None:
    """Keys for ever, for who calls it off is not to find that a forgotten program goes on; logins and sockets at once."""
    for key in user.api_keys.filter(revoked_at=None):
        keys.revoke_api_key(key)
    logins.end_all(user)
    keys.recheck_sockets(user.pk)


def _refuse_last_superuser(user: User) -> None:
    if not user.is_superuser:
        return
    if not User.objects.filter(is_superuser=True, is_active=True, departure=None).exclude(pk=user.pk).exists():
        raise LastSuperuser("You are the only administrator. Make somebody else one first.")


def cancel(user: User, by: User | None = None) -> bool:
    """Whether there was something to call off: not when the purge has begun. ``by`` where the context does not know who acts."""
    with transaction.atomic():
        found, _ = Departure.objects.filter(user=user, state=Departure.State.ASKED).delete()
        if found:
            audit.record("user.deletion_cancelled", user, by=by)
    return bool(found)


# --- The purge ----------------------------------------------------------------------------------------------------------


def due() -> QuerySet[Departure]:
    begun = Q(state=Departure.State.PURGING)
    return Departure.objects.filter(begun | Q(state=Departure.State.ASKED, due_at__lte=timezone.now()))


def purge(user_id: UUID) -> Iterator[int]:
    """The steps that are left, each taken when it is asked for; 1 when the account is gone. Not in a transaction."""
    user = _begin(user_id)
    if user is None:
        return
    for holding in holdings.every():
        holding.quiet(user)
        while holding.purge_step(user_id):
            failpoint("accounts.purge.step")
            yield 0
    while exports.remove_one(user_id) or _purge_own(user_id):
        failpoint("accounts.purge.own")
        yield 0
    retention.erase(user)
    failpoint("accounts.purge.erased")
    yield int(_finish(user_id))


def _begin(user_id: UUID) -> User | None:
    """The person, who cannot sign in any more; None when it was called off, or somebody else has finished."""
    with transaction.atomic():
        departure = due().select_for_update(of=("self",)).filter(pk=user_id).select_related("user").first()
        if departure is None:
            return None
        if departure.state == Departure.State.ASKED:
            Departure.objects.filter(pk=user_id).update(state=Departure.State.PURGING)
            User.objects.filter(pk=user_id).update(is_active=False)
            _lock_out(departure.user)
        return departure.user


def _purge_own(user_id: UUID) -> bool:
    """One batch: rows that are the person's go, those that merely name them name nobody any more. True while there may be more."""
    if _delete(UserEvent.objects.filter(stream=user_id), "seq"):
        return True
    for model, field, on_delete in _relations():
        found = model._base_manager.filter(**{field: user_id})
        if on_delete is models.SET_NULL and _unlink(found, field):
            return True
        if on_delete is models.CASCADE and model not in _not_mine() and _delete(found, "pk"):
            return True
    about = LogEntry.objects.filter(content_type__app_label="accounts", content_type__model="user")
    return bool(_delete(about.filter(object_id=str(user_id)), "pk"))  # what staff did to the account, with its address


def _relations() -> Iterator[tuple[type[models.Model], str, Any]]:
    """Every column of the database that names a person. The apps above need not be known."""
    for relation in User._meta.get_fields(include_hidden=True):
        if relation.auto_created and not relation.concrete and isinstance(relation, models.ManyToOneRel):
            yield relation.related_model, relation.field.name, relation.on_delete


@transaction.atomic
def _delete(found: QuerySet[Any], key: str) -> int:
    keys_ = list(found.order_by().values_list(key, flat=True)[:ROWS])
    return found.filter(**{f"{key}__in": keys_}).delete()[0] if keys_ else 0


@transaction.atomic
def _unlink(found: QuerySet[Any], field: str) -> int:
    keys_ = list(found.order_by().values_list("pk", flat=True)[:ROWS])
    return found.filter(pk__in=keys_).update(**{field: None}) if keys_ else 0


@transaction.atomic
def _finish(user_id: UUID) -> bool:
    """Under the strongest lock, which keeps others from making rows that name the person. False when some have come meanwhile, and when
    somebody else was faster."""
    user = User.objects.select_for_update().filter(pk=user_id).first()
    if user is None or any(holding.holds(user_id) for holding in holdings.every()) or _left(user_id):
        return False
    audit.record("user.deleted", User(pk=user_id))  # without the name: what was said of them has just been erased
    user.delete()
    return True


def _left(user_id: UUID) -> bool:
    kept = _not_mine()
    rows = ((model, field) for model, field, how in _relations() if how is models.CASCADE and model not in kept)
    return any(model._base_manager.filter(**{field: user_id}).exists() for model, field in rows)


def _not_mine() -> set[type[models.Model]]:
    """What goes with the person's own row, and what the apps above delete in steps of their own."""
    return {Departure, UserStream, *(model for holding in holdings.every() for model in holding.owned)}


def wake() -> None:
    """A worker now, for a purge that need not wait. When this is lost the cleaner comes within a minute."""
    nudge.send_task_on_commit("config.tasks.cleanup", ["departures"], "index")


CLEANING: Final = Cleaning(
    lambda: due().count(), lambda: in_turn(list(due().order_by("due_at").values_list("pk", flat=True)), purge)
)
