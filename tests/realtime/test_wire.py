"""Workers publish raw what the channel layer would have sent: its consumers must not see a difference."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from channels.layers import get_channel_layer

from realtime import feed, nudge
from realtime.groups import user_group
from realtime.subscription import Subscription


async def heard(group: str, *publish: Any) -> list[Any]:
    """What a subscription of the group receives when each of the functions has published."""
    messages: asyncio.Queue[Any] = asyncio.Queue()
    subscription = Subscription(group, messages.put_nowait)
    assert await subscription.probe()
    for action in publish:
        await action()
    async with asyncio.timeout(5):
        received = [await messages.get() for _ in publish]
    await subscription.stop()
    return received


async def published(function: Any, *args: Any, **named: Any) -> None:
    await asyncio.to_thread(function, *args, **named)


@pytest.fixture(autouse=True)
async def clean_layer(transactional_db: None) -> Any:
    yield
    await get_channel_layer().flush()


async def test_a_raw_hint_is_received_like_the_layers_own() -> None:
    layer = get_channel_layer()
    group = f"stream.test.{uuid4().hex}"
    own, raw = await heard(
        group, lambda: layer.group_send(group, {"type": "stream.hint"}), lambda: published(nudge.wake, group)
    )
    assert own == raw == {"type": "stream.hint"}


async def test_a_raw_delta_is_received_like_the_layers_own() -> None:
    layer = get_channel_layer()
    group, turn = f"stream.test.{uuid4().hex}", str(uuid4())
    message = {"type": "stream.delta", "turn": turn, "attempt": 2, "from": 3, "text": "Grüße 🌍"}
    own, raw = await heard(
        group,
        lambda: layer.group_send(group, message),
        lambda: published(
            nudge.publish_delta, group, turn=turn, attempt=2, start=3, text="Grüße 🌍", partial="abcGrüße 🌍"
        ),
    )
    assert own == raw == message


async def test_a_sign_out_reaches_the_users_group() -> None:
    user_id = uuid4()
    assert await heard(user_group(user_id), lambda: published(nudge.sign_out, user_id)) == [{"type": "user.recheck"}]


async def test_a_group_is_left_when_its_subscription_stops() -> None:
    group = f"stream.test.{uuid4().hex}"
    await heard(group)
    channels = await asyncio.to_thread(nudge.client().pubsub_channels, f"*{group}*")
    assert channels == []


async def test_each_loop_has_one_feed(here: feed.Feed) -> None:
    assert feed.current() is here
