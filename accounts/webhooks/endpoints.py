"""What people do with their endpoints and deliveries. Every change is audited, and the secret leaves in the answer that made it alone.

Whoever changes an endpoint holds its row's lock. It is taken before the owner's stream is written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, events, streams, vault
from accounts.events import About, Notification
from accounts.models import User, UserStream, WebhookDelivery, WebhookEndpoint
from accounts.models_webhooks import DeliveryState
from accounts.webhooks import kinds, signing
from realtime import nudge
from realtime.addresses import Blocked, Policy
from realtime.errors import Conflict, Forbidden, IllegalState, InvalidInput, NotFound
from realtime.times import rfc3339

CheckVersion = Callable[[int], None]

TASK: Final = "accounts.tasks.send_webhooks"
ENDPOINTS_MAX: Final = 10  # of one person
PENDING_MAX: Final = 1_000  # tests and replays that wait at one endpoint
OVERLAP: Final = timedelta(hours=24)
OVERLAP_MAX: Final = timedelta(days=7)
DESCRIPTION_MAX: Final = 200
REASONS: Final = ("owner", "staff", "gone", "failing")


def policy() -> Policy:
    """Where webhooks go: https on its own ports, and whatever stands in the networks that the settings open."""
    return Policy({"https": (443, 8443)}, tuple(settings.WEBHOOK_PRIVATE_NETWORKS))


# --- Endpoints ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def create(user: User, *, url: str, events: Iterable[str], description: str = "") -> tuple[WebhookEndpoint, str]:
    """A new endpoint, told of what happens from now on, and its secret: show it now.

    Raises ``Blocked`` for an address that may not be asked, ``InvalidInput`` for events that do not exist, ``Conflict``
    (``too_many_webhooks``).
    """
    stream = UserStream.objects.select_for_update(no_key=True).get(pk=user.pk)  # two at once must not both be the last
    if user.webhooks.count() >= ENDPOINTS_MAX:
        raise Conflict(f"A person has at most {ENDPOINTS_MAX} webhooks.", code="too_many_webhooks")
    secret = signing.new_secret()
    endpoint = WebhookEndpoint.objects.create(
        user=user,
        url=_checked_url(url),
        events=_checked_events(events),
        description=_checked_description(description),
        sealed_secret=vault.seal(secret),
        cursor=stream.last_seq,
    )
    audit.record("webhook.created", endpoint, host=host_of(url), events=endpoint.events)
    return endpoint, secret


@transaction.atomic
def change(user: User, pk: UUID, changes: Mapping[str, Any], check_version: CheckVersion) -> WebhookEndpoint:
    """Other ``url``, ``events``, ``description`` or ``enabled``. One that is enabled again is told of what happens from then on; what
    was waiting goes out. Raises as ``create``, and ``NotFound``."""
    endpoint = _locked(user, pk)
    check_version(endpoint.version)
    if "url" in changes:
        endpoint.url = _checked_url(changes["url"])
    if "events" in changes:
        endpoint.events = _checked_events(changes["events"])
    if "description" in changes:
        endpoint.description = _checked_description(changes["description"])
    if changes.get("enabled", endpoint.enabled) != endpoint.enabled:
        if endpoint.disabled_reason == "staff":
            raise Forbidden("The staff of this server have switched it off.", code="disabled_by_staff")
        _switch(endpoint, reason="" if changes["enabled"] else "owner")
    endpoint.version += 1
    endpoint.save()
    audit.record("webhook.changed", endpoint, host=host_of(endpoint.url), fields=sorted(changes))
    return endpoint


@transaction.atomic
def delete(user: User, pk: UUID, check_version: CheckVersion) -> None:
    """With all of its deliveries. Raises ``NotFound``."""
    endpoint = _locked(user, pk)
    check_version(endpoint.version)
    audit.record("webhook.deleted", endpoint, host=host_of(endpoint.url))
    endpoint.delete()


@transaction.atomic
def rotate(user: User, pk: UUID, overlap: timedelta, check_version: CheckVersion) -> tuple[WebhookEndpoint, str]:
    """A new secret; the one before it signs as well for ``overlap``, 0 to 7 days. An older one ends at once."""
    if not timedelta(0) <= overlap <= OVERLAP_MAX:
        raise InvalidInput("The old secret may go on for 0 s to 7 days.", code="bad_overlap")
    endpoint, now = _locked(user, pk), timezone.now()
    check_version(endpoint.version)
    secret = signing.new_secret()
    kept = (endpoint.sealed_secret, now + overlap) if overlap else ("", None)
    endpoint.sealed_previous, endpoint.previous_until = kept
    endpoint.sealed_secret, endpoint.rotated_at = vault.seal(secret), now
    endpoint.version += 1
    endpoint.save()
    audit.record("webhook.rotated", endpoint, host=host_of(endpoint.url), overlap_s=round(overlap.total_seconds()))
    return endpoint, secret


def disable(endpoint: WebhookEndpoint, reason: str, detail: str = "") -> None:
    """By somebody or something else than its owner, who is told. Under the row's lock; harmless when it is disabled already."""
    if not endpoint.enabled:
        return
    _switch(endpoint, reason=reason)
    endpoint.version += 1
    endpoint.save()
    audit.record("webhook.disabled", endpoint, host=host_of(endpoint.url), reason=reason)
    about = About(type="webhook", id=endpoint.pk)
    told = Notification(kind="webhook_disabled", about=about, title=host_of(endpoint.url), detail=detail)
    streams.tell({endpoint.user_id: [events.notification(told)]})


@transaction.atomic
def disable_by_staff(pk: UUID) -> None:
    disable(WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=pk), "staff", "By the staff of this server.")


@transaction.atomic
def enable_by_staff(pk: UUID) -> None:
    endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=pk)
    if not endpoint.enabled:
        _switch(endpoint, reason="")
        endpoint.version += 1
        endpoint.save()
        audit.record("webhook.changed", endpoint, host=host_of(endpoint.url), fields=["enabled"])


def secrets_of(endpoint: WebhookEndpoint) -> list[str]:
    """Those that sign now, the newest first. Raises ``vault.SealBroken``."""
    sealed = [endpoint.sealed_secret]
    if endpoint.previous_until is not None and endpoint.previous_until > timezone.now():
        sealed.append(endpoint.sealed_previous)
    return [vault.unseal(one) for one in sealed]


def reseal() -> int:
    """Every secret anew under the first of ``ENCRYPTION_KEYS``; how many. Raises ``vault.SealBroken``."""
    rows = list(WebhookEndpoint.objects.select_for_update())
    for row in rows:
        row.sealed_secret, row.sealed_previous = vault.reseal(row.sealed_secret), vault.reseal(row.sealed_previous)
        row.save(update_fields=["sealed_secret", "sealed_previous"])
    return len(rows)


def host_of(url: str) -> str:
    """What may be said of an address where others read: a path may hold a token."""
    return urlsplit(url).netloc


# --- Deliveries ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def send_test(user: User, pk: UUID) -> WebhookDelivery:
    """A message of type ``webhook.test``. Raises ``IllegalState`` (``webhook_disabled``), ``NotFound``."""
    endpoint = _sendable(user, pk)
    url = f"{settings.PUBLIC_URL}/api/me/webhooks/{endpoint.pk}"
    body = {"type": kinds.TEST, "timestamp": rfc3339(timezone.now()), "data": {"id": str(endpoint.pk), "url": url}}
    delivery = WebhookDelivery.objects.create(endpoint=endpoint, type=kinds.TEST, payload=body)
    _soon(endpoint)
    audit.record("webhook.tested", endpoint, host=host_of(endpoint.url))
    return delivery


@transaction.atomic
def replay(user: User, pk: UUID, delivery_id: UUID) -> WebhookDelivery:
    """Send a delivery again, with all its attempts and under the same id. Raises ``IllegalState`` (``webhook_disabled``,
    ``delivery_pending``), ``NotFound``."""
    endpoint = _sendable(user, pk)
    delivery = endpoint.deliveries.select_for_update(no_key=True).filter(pk=delivery_id).first()
    if delivery is None:
        raise NotFound("There is no such delivery.")
    if delivery.state == DeliveryState.PENDING:
        raise IllegalState("The delivery is on its way already.", code="delivery_pending")
    delivery.state, delivery.attempts, delivery.next_attempt_at = DeliveryState.PENDING, 0, timezone.now()
    delivery.save(update_fields=["state", "attempts", "next_attempt_at"])
    _soon(endpoint)
    audit.record("webhook.replayed", endpoint, host=host_of(endpoint.url), delivery=delivery.pk)
    return delivery


def _sendable(user: User, pk: UUID) -> WebhookEndpoint:
    endpoint = _locked(user, pk)
    if not endpoint.enabled:
        raise IllegalState("The webhook is switched off; enable it first.", code="webhook_disabled")
    if endpoint.deliveries.filter(state=DeliveryState.PENDING).count() >= PENDING_MAX:
        raise Conflict("Too much waits for this webhook already.", code="too_many_pending")
    return endpoint


def _soon(endpoint: WebhookEndpoint) -> None:
    """Somebody waits for it: a pause after a failure is over."""
    endpoint.not_before = timezone.now()
    endpoint.save(update_fields=["not_before"])
    nudge.send_task_on_commit(TASK, [], "control")


# --- Looking up ---------------------------------------------------------------------------------------------------------


def one_of(user: User, pk: UUID) -> WebhookEndpoint:
    """One of this user's; ``NotFound`` also for another user's."""
    return _got(user.webhooks.all(), pk)


def deliveries_of(user: User, pk: UUID, state: str | None = None) -> QuerySet[WebhookDelivery]:
    """Those in a state of ``DeliveryState``, if one is wanted. Raises ``NotFound``, ``InvalidInput``."""
    found = one_of(user, pk).deliveries.all()
    if state is None:
        return found
    if state not in DeliveryState.values:
        raise InvalidInput(f"state is one of {', '.join(DeliveryState.values)}.", code="bad_query")
    return found.filter(state=state)


def _locked(user: User, pk: UUID) -> WebhookEndpoint:
    return _got(user.webhooks.select_for_update(no_key=True), pk)


def _got(found: QuerySet[WebhookEndpoint], pk: UUID) -> WebhookEndpoint:
    endpoint = found.filter(pk=pk).first()
    if endpoint is None:
        raise NotFound("There is no such webhook.")
    return endpoint


# --- Checks -------------------------------------------------------------------------------------------------------------


def _switch(endpoint: WebhookEndpoint, *, reason: str) -> None:
    """On without a reason, off with one."""
    endpoint.enabled, endpoint.disabled_reason = not reason, reason
    endpoint.failures, endpoint.failing_since, endpoint.not_before = 0, None, timezone.now()
    if endpoint.enabled:
        endpoint.cursor = UserStream.objects.values_list("last_seq", flat=True).get(pk=endpoint.user_id)


def _checked_url(url: str) -> str:
    try:
        policy().target(url)
    except Blocked as error:
        raise Blocked(error.detail, errors=[{"pointer": "/url", "detail": error.detail}]) from error
    return url


def _checked_events(chosen: Iterable[str]) -> list[str]:
    """In the order of ``kinds.CHOICES``, each once."""
    wanted = set(chosen)
    if not wanted or not wanted <= set(kinds.CHOICES):
        detail = f"A webhook needs events, of these: {', '.join(kinds.CHOICES)}."
        raise InvalidInput(detail, code="bad_events", errors=[{"pointer": "/events", "detail": detail}])
    return [one for one in kinds.CHOICES if one in wanted]


def _checked_description(text: str) -> str:
    if len(text) > DESCRIPTION_MAX or "\x00" in text:
        raise InvalidInput(f"A description has at most {DESCRIPTION_MAX} characters.", code="bad_description")
    return text
