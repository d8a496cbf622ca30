"""What a person has open or running, on which devices, since when.

What runs comes from Postgres. What is watched comes from ``realtime.presence``, which every process with sockets or event streams writes
anew at each heartbeat; when Valkey does not answer, that part is unknown and said to be."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from redis.exceptions import RedisError

from accounts import holdings, logins
from accounts.models import ApiKey, LoginSession, User
from realtime import presence
from realtime.groups import stream_group
from realtime.presence import Mark

Json = dict[str, Any]
log = logging.getLogger(__name__)


def activity(user: User) -> Json:
    """``{live, councils: [{id, name, status, running_since, watched: [{kind, id, device, address, since}]}], packs: …}``. ``live`` is
    false when nobody knows what is watched. A constant number of statements."""
    marks = _marks(user)
    devices = _devices(user, {mark.credential for mark in marks or ()})
    found: Json = {"live": marks is not None}
    for holding in holdings.every():
        watched = _by_thing(holding, marks or (), devices)
        found[holding.things] = [
            {**thing, "watched": watched.get(thing["id"], [])} for thing in holding.activity(user, list(watched))
        ]
    return found


def _marks(user: User) -> list[Mark] | None:
    try:
        return presence.watched_by(user.pk)
    except RedisError as error:
        log.warning("what is watched cannot be read: %r", error)
        return None


def _by_thing(holding: holdings.Holding, marks: Iterable[Mark], devices: dict[str, Json]) -> dict[UUID, list[Json]]:
    """A device that watches the same twice (two tabs) is shown once, with the earlier time."""
    beginning = stream_group(holding.stream, UUID(int=0)).rpartition(".")[0] + "."
    first: dict[tuple[UUID, str], int] = {}
    for mark in marks:
        if mark.group.startswith(beginning):
            key = (UUID(mark.group.removeprefix(beginning)), mark.credential)
            first[key] = min(mark.since, first.get(key, mark.since))
    found: dict[UUID, list[Json]] = defaultdict(list)
    for (thing, credential), since in sorted(first.items(), key=lambda one: one[1]):
        found[thing].append({**devices.get(credential, _UNKNOWN), "since": datetime.fromtimestamp(since, UTC)})
    return found


_UNKNOWN: Json = {"kind": "login", "id": None, "device": "Unknown device", "address": None}


def _devices(user: User, credentials: set[str]) -> dict[str, Json]:
    """By credential: the login or the key that it is, as far as it still exists."""
    digests = {one: bytes.fromhex(one.partition(":")[2]) for one in credentials if one}
    found: dict[str, Json] = {}
    for login in LoginSession.objects.filter(user=user, digest__in=list(digests.values())):
        device = {"kind": "login", "id": login.pk, "device": logins.device(login.user_agent), "address": login.ip}
        found[f"login:{bytes(login.digest).hex()}"] = device
    shown = Q(digest__in=list(digests.values())) | Q(previous_digest__in=list(digests.values()))
    for key in ApiKey.objects.filter(shown, user=user):
        for digest in (key.digest, key.previous_digest):
            if digest is not None:
                device = {"kind": "key", "id": key.pk, "device": key.name, "address": key.last_used_ip}
                found[f"key:{bytes(digest).hex()}"] = device
    return found
