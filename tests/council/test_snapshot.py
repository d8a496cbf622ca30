"""Whoever holds snapshot(k) and the events after k holds snapshot(n), for every k through a whole council."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder

from accounts.models import User
from council import selectors, services
from council.models import CouncilSession, SessionEvent
from tests.support.councils import Convene, work
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)


def snapshot(session: CouncilSession) -> Any:
    taken = json.loads(json.dumps(selectors.session_snapshot(session.pk), cls=DjangoJSONEncoder))
    for round_ in taken["rounds"]:
        round_["turns"].sort(key=lambda turn: turn["turn"])
    return taken


def events(session: CouncilSession, after: int) -> list[Any]:
    rows = SessionEvent.objects.filter(stream=session, seq__gt=after).order_by("seq")
    return [{"seq": row.seq, "type": row.type, "data": row.payload} for row in rows]


def test_every_snapshot_and_what_follows_gives_the_last(user: User, convene: Convene) -> None:
    models = ("fake-option-1", "fake-option-2", "fake-400", "fake-400")
    session = convene(models, protocol={"preset": "debate"})
    taken = [snapshot(session)]
    services.post_message(user, session.pk, content="Mind the costs.", kind="constraint")
    services.start(user, session.pk)
    for _ in range(20):
        taken.append(snapshot(session))
        if work(session, limit=1).status != "running":
            break
    last = snapshot(session)
    assert last["session"]["status"] == "completed"
    for early in taken:
        built = reduce(early, events(session, early["last_seq"]))
        for round_ in built["rounds"]:
            round_["turns"].sort(key=lambda turn: turn["turn"])
        for part in last:
            assert built[part] == last[part], part
