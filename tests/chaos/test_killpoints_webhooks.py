"""A worker that tells webhooks is killed with SIGKILL at each of its points: nothing is lost, and what comes twice has the same id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User, WebhookDelivery, WebhookEndpoint
from accounts.webhooks import endpoints, task
from knowledge import services
from realtime.failpoints import REGISTRY
from tests.support.receiver import Receiver
from tests.support.stack import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos, pytest.mark.xdist_group("live")]

TIMEOUT_S = 120
# How often the receiver was told when the worker died.
POINTS = {"webhooks.fan_out.stored": 0, "webhooks.sent": 1}


def killed_at(point: str) -> None:
    code = "import django; django.setup()\nfrom accounts.webhooks import task\ntask.run()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "QUORUM_DATA_DIR": str(settings.DATA_DIR),
            "SECRET_KEY": settings.SECRET_KEY,
            "ENCRYPTION_KEYS": ",".join(settings.ENCRYPTION_KEYS),
            "QUORUM_ALLOW_FAILPOINTS": "true",
            "QUORUM_FAILPOINTS": f"{point}=kill",
        },
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached: {done.stdout}{done.stderr}"


def test_every_point_is_tried_here() -> None:
    assert set(POINTS) == {name for name in REGISTRY if name.startswith("webhooks.")}


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point == "webhooks.sent" else pytest.mark.deep) for point in POINTS]
)
def test_a_killed_worker_loses_nothing(point: str, user: User) -> None:
    with Receiver() as receiver:
        endpoints.create(user, url=receiver.url, events=["pack.*"])
        services.create_pack(user, name="Ferries")
        killed_at(point)
        assert len(receiver.got) == POINTS[point]
        task.run()
        assert len(receiver.got) == max(POINTS[point], 1)  # what the dead worker held is not free yet
        WebhookDelivery.objects.exclude(lease_token=None).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        task.run()
        assert len(receiver.got) == 1 + POINTS[point]
        assert len(set(receiver.ids)) == 1
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.attempts) == ("delivered", 1 + POINTS[point])
    assert WebhookEndpoint.objects.get().cursor > 0
