"""A client that loses its connection at random moments through a whole council holds exactly the rows of the event log."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
from channels.db import database_sync_to_async
from django.core.serializers.json import DjangoJSONEncoder
from websockets.exceptions import ConnectionClosed

from accounts.models import User
from accounts.services import create_api_key
from council import services
from council.models import CouncilSession, SessionEvent
from tests.support.councils import Convene
from tests.support.stack import LiveStack
from tests.support.ws_client import LiveClient

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("live")]

ENDS = {"session.completed", "session.failed"}


async def watch(client: LiveClient, seed: int) -> None:
    """Follow the council to its end, cutting the connection again and again."""
    dice = random.Random(seed)
    while not any(row["type"] in ENDS for row in client.rows.values()):
        await client.connect()
        try:
            async with asyncio.timeout(dice.uniform(0.02, 0.5)):
                while not any(row["type"] in ENDS for row in client.rows.values()):
                    await client.receive()
        except (TimeoutError, ConnectionClosed):
            pass
        finally:
            client.cut()
            await client.gone()


def log_of(session: CouncilSession) -> list[tuple[int, str, str]]:
    rows = SessionEvent.objects.filter(stream=session).order_by("seq")
    return [(row.seq, row.type, json.dumps(row.payload, sort_keys=True, cls=DjangoJSONEncoder)) for row in rows]


def test_cut_and_resumed_at_random_it_ends_with_the_log(user: User, convene: Convene, tmp_path: Path) -> None:
    key = create_api_key(user, "watcher")[1]
    models = ("fake-option-1-slow", "fake-option-2-slow", "fake-option-3-latency-300", "fake-slow")
    with LiveStack(tmp_path) as stack:
        session = convene(models, protocol={"preset": "debate"})
        url = f"{stack.url}/ws/council-sessions/{session.pk}"
        clients = [LiveClient(url, key=key, last_seq=0) for _ in range(4)]

        async def all_of_them() -> None:
            watching = [asyncio.create_task(watch(client, seed)) for seed, client in enumerate(clients)]
            await database_sync_to_async(services.start)(user, session.pk)
            await asyncio.wait_for(asyncio.gather(*watching), 90)

        asyncio.run(all_of_them())
    expected = log_of(session)
    for client in clients:
        seen = [(seq, row["type"], json.dumps(row["data"], sort_keys=True)) for seq, row in sorted(client.rows.items())]
        assert seen == expected
    assert sum(client.connections for client in clients) > 12
    assert any(frame["t"] == "delta" for client in clients for frame in client.frames)
