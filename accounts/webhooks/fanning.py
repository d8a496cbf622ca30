"""Events of people's streams become deliveries. Each endpoint goes through its owner's stream by a cursor of its own, under its row's
lock, so that any number of workers may do this; deliveries and cursor are committed together."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import UserEvent, UserStream, WebhookDelivery, WebhookEndpoint
from accounts.webhooks import kinds
from realtime import stopping
from realtime.failpoints import failpoint

BATCH: Final = 500  # events that one transaction looks at


def fan_out(until: float) -> int:
    """Make the deliveries of everything that endpoints have not been told of; how many. Not in a transaction."""
    made = 0
    for pk in behind():
        more = True
        while more and not stopping.over(until):
            some, more = _step(pk)
            made += some
    return made


def behind() -> list[UUID]:
    """Endpoints whose owner's stream has gone on."""
    late = WebhookEndpoint.objects.filter(enabled=True, user__is_active=True, user__stream__last_seq__gt=F("cursor"))
    return list(late.order_by("pk").values_list("pk", flat=True))


@transaction.atomic
def _step(pk: UUID) -> tuple[int, bool]:
    """One batch: how many deliveries, and whether there is more."""
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=pk).first()
    if endpoint is None or not endpoint.enabled:
        return 0, False  # another worker is at it, or it is gone
    last = UserStream.objects.values_list("last_seq", flat=True).get(pk=endpoint.user_id)
    end = min(last, endpoint.cursor + BATCH)
    # What was withdrawn in the meantime has another type, and what has grown too old is not there.
    events = UserEvent.objects.filter(
        stream=endpoint.user_id, seq__gt=endpoint.cursor, seq__lte=end, type__in=kinds.wanted(endpoint.events)
    )
    now = timezone.now()
    made = [
        WebhookDelivery(
            endpoint=endpoint, event=event.seq, type=event.type, payload=kinds.message(event), created_at=now
        )
        for event in events.order_by("seq")
    ]
    WebhookDelivery.objects.bulk_create(made)
    WebhookEndpoint.objects.filter(pk=pk).update(cursor=end)
    failpoint("webhooks.fan_out.stored")
    return len(made), end < last
