"""One attempt to deliver: claim, send, store what came of it.

A claim is a lease on the delivery's row, and counts the attempt. The request is made outside of any transaction. Whoever dies between the
receiver's answer and the commit has delivered without a trace: the lease runs out, and the same message with the same id is sent
again. So receivers get each message **at least once**, and tell duplicates by their id.

    attempt        1    2     3    4     5     6    7    8    9    10   11       then failed
    after it  5 s  1 min  5 min 30 min 2 h  5 h  10 h 12 h 16 h 20 h             (each ± 20 %)

An endpoint whose last attempt failed rests, 5 s first and 5 minutes at most, whatever waits for it, and has one message at a time: so a
receiver that hangs costs little. After ``FAILURES`` failures in a row over ``FAILING``, and on 410, it is switched off.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from accounts import vault
from accounts.models import WebhookDelivery, WebhookEndpoint
from accounts.models_webhooks import DeliveryState
from accounts.webhooks import endpoints, kinds, signing, subjects
from realtime.addresses import Blocked
from realtime.failpoints import failpoint
from realtime.outbound import Door, FetchFailed, Poster

TOTAL_S: Final = 10.0
LEASE: Final = timedelta(seconds=30)
AT_ONCE: Final = 2  # messages to one endpoint
AT_ONCE_OF_ONE_PERSON: Final = 4  # to all of theirs
EXCERPT: Final = 1024
DELAYS_S: Final = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 43_200, 57_600, 72_000)
JITTER: Final = 0.2
REST_S: Final = (5, 300)
FAILURES: Final = 20
FAILING: Final = timedelta(hours=24)
GONE: Final = 410
LOST: Final = "access_lost"
_LOOK: Final = 20  # deliveries that are looked at for one that may go
_RANDOM: Final = secrets.SystemRandom()

Post = Callable[[str, bytes, dict[str, str]], "Outcome"]


class Claim(NamedTuple):
    delivery: WebhookDelivery  # with its endpoint and the endpoint's user
    token: UUID


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attempt. ``status`` None: there was no answer; ``error`` says why it is no success."""

    status: int | None = None
    error: str = ""
    response: str = ""
    ms: int = 0
    final: bool = False  # another attempt is of no use

    @property
    def delivered(self) -> bool:
        return not self.error


def any_due() -> bool:
    return due(timezone.now()).exists()


def send_one(by: Post | None = None) -> bool:
    """One attempt of the delivery that has waited longest; False when none is due. Not in a transaction. ``by``: how, else ``post``."""
    claim = _claim()
    if claim is None:
        return False
    outcome = _attempt(claim.delivery, by or post)
    failpoint("webhooks.sent")
    _finish(claim, outcome)
    return True


# --- Claiming -----------------------------------------------------------------------------------------------------------


def due(now: datetime) -> QuerySet[WebhookDelivery]:
    """What may be sent: its time has come, nobody is at it, its endpoint is on and does not rest."""
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=now)
    rows = WebhookDelivery.objects.filter(free, state=DeliveryState.PENDING, next_attempt_at__lte=now)
    on = rows.filter(endpoint__enabled=True, endpoint__not_before__lte=now, endpoint__user__is_active=True)
    return on.order_by("next_attempt_at", "pk")


def _claim() -> Claim | None:
    now = timezone.now()
    under_way = WebhookDelivery.objects.filter(lease_expires_at__gte=now).order_by()
    counts = dict(under_way.values_list("endpoint__user").annotate(number=Count("pk")))
    busy = [user for user, number in counts.items() if number >= AT_ONCE_OF_ONE_PERSON]
    full = dict(under_way.values_list("endpoint").annotate(number=Count("pk")))
    full_ones = [endpoint for endpoint, number in full.items() if number >= AT_ONCE]
    waiting = due(now).exclude(endpoint__user__in=busy).exclude(endpoint__in=full_ones)
    for pk, endpoint_id in waiting.values_list("pk", "endpoint")[:_LOOK]:
        if claim := _take(pk, endpoint_id):
            return claim
    return None


@transaction.atomic
def _take(pk: UUID, endpoint_id: UUID) -> Claim | None:
    """Under the endpoint's lock, which makes its bound exact; the person's is looked at without one and may be passed by a few."""
    rows = WebhookEndpoint.objects.select_related("user")
    endpoint = rows.select_for_update(no_key=True, skip_locked=True, of=("self",)).filter(pk=endpoint_id).first()
    now = timezone.now()
    if endpoint is None:
        return None
    under_way = endpoint.deliveries.filter(lease_expires_at__gte=now).count()
    delivery = due(now).filter(pk=pk).select_for_update(no_key=True, skip_locked=True, of=("self",)).first()
    if delivery is None or under_way >= (1 if endpoint.failures else AT_ONCE):
        return None
    delivery.endpoint, delivery.lease_token, delivery.lease_expires_at = endpoint, uuid4(), now + LEASE
    delivery.attempts += 1
    delivery.last_attempt_at = now
    delivery.save(update_fields=["lease_token", "lease_expires_at", "attempts", "last_attempt_at"])
    return Claim(delivery, delivery.lease_token)


# --- Sending ------------------------------------------------------------------------------------------------------------


def _attempt(delivery: WebhookDelivery, by: Post) -> Outcome:
    endpoint = delivery.endpoint
    if not _may_still_know(delivery):
        return Outcome(error=LOST, final=True)
    body = json.dumps(delivery.payload, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        keys = endpoints.secrets_of(endpoint)
    except vault.SealBroken as error:
        return Outcome(error=error.code)
    signed = signing.headers(f"msg_{delivery.pk.hex}", int(time.time()), body, keys)
    return by(endpoint.url, body, {**signed, "Content-Type": "application/json", "User-Agent": "Quorum (webhooks)"})


def _may_still_know(delivery: WebhookDelivery) -> bool:
    """Asked again at each attempt: a share may have been taken back since it happened."""
    if delivery.type == kinds.TEST or kinds.is_of_what_is_gone(delivery.type):
        return True
    about = delivery.type.partition(".")[0]
    return subjects.may_know(delivery.endpoint.user, about, delivery.payload["data"]["id"])


def post(url: str, body: bytes, headers: dict[str, str]) -> Outcome:
    began = time.monotonic()
    try:
        answer = Poster(Door(endpoints.policy()), total_s=TOTAL_S).post(url, body, headers, read=EXCERPT)
    except (Blocked, FetchFailed) as error:
        return Outcome(error=error.detail[:200], ms=_since(began))
    fault = "" if 200 <= answer.status < 300 else f"The receiver answered {answer.status}."
    return Outcome(answer.status, fault, _text(answer.excerpt), _since(began), final=answer.status == GONE)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _text(excerpt: bytes) -> str:
    return excerpt.decode("utf-8", "replace").replace("\x00", "")[:EXCERPT]


# --- What came of it ----------------------------------------------------------------------------------------------------


@transaction.atomic
def _finish(claim: Claim, outcome: Outcome) -> None:
    """Stored under the endpoint's lock; nothing when the lease has passed to another worker or the endpoint is gone."""
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=claim.delivery.endpoint_id).first()
    if endpoint is None:
        return
    now = timezone.now()
    held = WebhookDelivery.objects.filter(pk=claim.delivery.pk, lease_token=claim.token, state=DeliveryState.PENDING)
    stored = held.update(
        **_next(claim.delivery.attempts, outcome, now),
        lease_token=None,
        lease_expires_at=None,
        status=outcome.status,
        error=outcome.error,
        response=outcome.response,
        response_ms=outcome.ms,
    )
    if stored and outcome.error != LOST:
        _note(endpoint, outcome, now)


def _next(attempts: int, outcome: Outcome, now: datetime) -> dict[str, Any]:
    if outcome.delivered:
        return {"state": DeliveryState.DELIVERED, "next_attempt_at": None, "delivered_at": now}
    if outcome.final or attempts > len(DELAYS_S):
        return {"state": DeliveryState.FAILED, "next_attempt_at": None}
    delay = DELAYS_S[attempts - 1] * _RANDOM.uniform(1 - JITTER, 1 + JITTER)
    return {"next_attempt_at": now + timedelta(seconds=delay)}


def _note(endpoint: WebhookEndpoint, outcome: Outcome, now: datetime) -> None:
    """How the endpoint does."""
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    if outcome.delivered:
        rows.filter(~Q(failures=0)).update(failures=0, failing_since=None, not_before=now)
        return
    since = endpoint.failing_since or now
    rest = min(REST_S[0] * 2 ** min(endpoint.failures, 10), REST_S[1])
    rows.update(failures=F("failures") + 1, failing_since=since, not_before=now + timedelta(seconds=rest))
    endpoint.refresh_from_db()
    if outcome.status == GONE:
        endpoints.disable(endpoint, "gone", "The receiver answered 410: it is gone.")
    elif endpoint.failures >= FAILURES and since <= now - FAILING:
        endpoints.disable(endpoint, "failing", f"Nothing has reached it since {since:%Y-%m-%d %H:%M}. {outcome.error}")
