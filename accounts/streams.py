"""People's own streams: what tells them of their councils and packs, and of what waits for them.

``tell`` is the one function that writes to them, in the transaction that changes the state, so that nothing is told that did not
happen and nothing happens untold. Everybody who writes to a stream takes its row's lock, and takes it last: after session, run, round,
turn and budgets, and after packs; of several streams in the order of their users' ids. (Code that has to tell of a change early
in a transaction does so inside ``realtime.log.gathering``, which writes at the end.)

A stream is kept for ``KEPT_DAYS`` and ``KEPT_MOST`` events; the newest ``KEPT_ALWAYS`` stay, however old, for they can be replayed.
A notification is unread until it is read or ``WINDOW`` events have come after it: a rule that a client can follow by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from accounts import events
from accounts.models import User, UserEvent, UserStream, WebhookEndpoint
from realtime import limits, log
from realtime.errors import InvalidInput, NotFound
from realtime.log import NewEvent
from realtime.times import rfc3339

Json = dict[str, Any]

WINDOW: Final = 500
KEPT_ALWAYS: Final = 2 * limits.REPLAY_EVENTS  # more than the window and more than a replay
KEPT_MOST: Final = 2_000
KEPT_DAYS: Final = 90


def tell(news: Mapping[UUID, Sequence[NewEvent]]) -> None:
    """Append to each user's stream the events (``accounts.events.event``) that concern them."""
    for user_id in sorted(news):
        log.append(UserStream(pk=user_id), *news[user_id])


def withdraw(users: Collection[UUID], about: UUID) -> None:
    """Take out of these users' streams what they were told of a thing that is not theirs to see any more. The numbers stay.

    To be followed by an event of ``events.PACK_GONE``, at which readers forget what they hold.
    """
    _locked(users)
    told = Q(payload__pack__id=str(about)) | Q(payload__notification__about__id=str(about))
    rows = UserEvent.objects.filter(told, stream__in=users).exclude(
        type__in=events.PACK_GONE
    )  # which say no more than an id
    rows.update(type=events.WITHDRAWN, payload={})


def mark_read(user: User, up_to: int) -> UserStream:
    """The user has seen the notifications up to event ``up_to``. What was read stays read: a lower number changes nothing.

    Raises ``InvalidInput`` for a number that the stream has not reached.
    """
    with transaction.atomic():
        [stream] = _locked([user.pk])
        if up_to > stream.last_seq:
            detail = f"Your stream has come to {stream.last_seq} only."
            raise InvalidInput(detail, code="bad_up_to", errors=[{"pointer": "/up_to", "detail": detail}])
        if up_to > stream.read_up_to:
            stream.read_up_to = up_to
            stream.save(update_fields=["read_up_to"])
            log.append(stream, events.event(events.READ, events.NotificationsRead(up_to=up_to)))
    return stream


def stream_of(user_id: UUID) -> UserStream:
    """Raises ``NotFound`` when there is no such user."""
    found = UserStream.objects.filter(pk=user_id).first()
    if found is None:
        raise NotFound("There is no such user.")
    return found


def unread(stream: UserStream) -> list[Json]:
    """The notifications that have not been read, oldest first: ``{seq, at, …}`` with the fields of ``events.Notification``."""
    after = max(stream.read_up_to, stream.last_seq - WINDOW)
    rows = UserEvent.objects.filter(stream=stream, type=events.NOTIFICATION, seq__gt=after, seq__lte=stream.last_seq)
    return [
        {"seq": row.seq, "at": rfc3339(row.created_at), **row.payload["notification"]} for row in rows.order_by("seq")
    ]


def forgotten(now: datetime) -> QuerySet[UserEvent]:
    """The events that are older than streams are kept, for ``accounts.cleaning``; not what a webhook is still to be told of."""
    untold = WebhookEndpoint.objects.filter(enabled=True, user=OuterRef("stream"), cursor__lt=OuterRef("seq"))
    long = UserEvent.objects.filter(~Exists(untold), stream__last_seq__gt=KEPT_ALWAYS)
    too_many = Q(seq__lte=F("stream__last_seq") - KEPT_MOST)
    too_old = Q(seq__lte=F("stream__last_seq") - KEPT_ALWAYS, created_at__lt=now - timedelta(days=KEPT_DAYS))
    return long.filter(too_many | too_old)


def _locked(users: Collection[UUID]) -> list[UserStream]:
    return list(UserStream.objects.select_for_update(no_key=True).filter(pk__in=users).order_by("pk"))
