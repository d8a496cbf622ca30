"""Whoever holds a pack's snapshot(k) and the events after k holds snapshot(n), for every k: whatever people and workers do to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from knowledge import selectors, services
from knowledge.models import Entry, KnowledgePack
from knowledge.services.bulk import ACTIONS
from knowledge.services.order import Side
from realtime.errors import QuorumError
from tests.knowledge.conftest import index_all
from tests.support.reducer import reduce_pack

pytestmark = pytest.mark.django_db

DEEP = settings.get_current_profile_name() == "deep"
EMPTY = {"pack": {}, "entries": [], "last_seq": 0}


@dataclass
class Walk:
    """A pack and another one, and who does things to them; ``dice`` decides to which entries, and how."""

    owner: User
    friend: User
    pack: KnowledgePack
    other: KnowledgePack
    dice: Random

    def some(self, trashed: bool = False) -> list[UUID]:
        entries = selectors.trash_of(self.pack) if trashed else selectors.entries_of(self.pack)
        known = list(entries.order_by("pk").values_list("pk", flat=True))
        return self.dice.sample(known, min(len(known), self.dice.randint(1, 3)))

    def text(self) -> dict[str, Any]:
        word = f"w{self.dice.randint(0, 6)}"
        return {
            "title": word.upper(),
            "content": f"About {word}.",
            "tags": [word],
            "external_id": self.dice.choice(["", word]),
        }


def add(walk: Walk) -> None:
    items = [walk.text() for _ in range(walk.dice.randint(1, 3))]
    services.add_entries(walk.pack, walk.owner, items, on_duplicate=walk.dice.choice(["fail", "skip", "update"]))


def revise(walk: Walk) -> None:
    for entry in walk.some()[:1]:
        changes: dict[str, Any] = walk.dice.choice(
            [
                walk.text(),
                {"language": "german"},
                {"reviewed": True},
                {"review_by": "2030-01-01"},
                {"metadata": {"a": 1}},
            ]
        )
        services.revise_entry(entry, walk.owner, changes)


def in_bulk(walk: Walk) -> None:
    action = walk.dice.choice(ACTIONS)
    which = walk.some(trashed=action == "restore")
    services.bulk_entries(walk.pack, walk.owner, action, which, tags=["t"], to=walk.other)


def reorder(walk: Walk) -> None:
    some = walk.some()
    sides: list[Side] = ["before", "after"]
    services.reorder_entries(walk.pack.pk, some[1:], walk.dice.choice(sides), some[0] if some else None)


def purge(walk: Walk) -> None:
    Entry.objects.filter(pk__in=walk.some(trashed=True)[:1]).update(deleted_at=timezone.now() - timedelta(days=400))
    list(services.purge_trash(walk.pack.pk, timezone.now() - timedelta(days=300)))


def describe(walk: Walk) -> None:
    changes = {"name": walk.text()["title"], "tags": ["n"], "visibility": walk.dice.choice(["private", "public"])}
    services.update_pack(walk.pack.pk, {**changes, "gate_publishing": walk.dice.choice([None, 0.5])})


def set_status(walk: Walk) -> None:
    services.update_pack(walk.pack.pk, {"status": walk.dice.choice(["active", "archived"])})


def throw_away_and_restore(walk: Walk) -> None:
    services.delete_pack(walk.pack.pk)
    services.restore_pack(walk.pack.pk)


def publish(walk: Walk) -> None:
    label = walk.text()["title"]
    if known := walk.pack.snapshots.filter(label=label).first():
        services.delete_snapshot(walk.pack.pk, known.pk)
    else:
        services.publish(walk.pack.pk, walk.owner, label)


def question(walk: Walk) -> None:
    services.add_golden_question(walk.pack.pk, walk.owner, question=walk.text()["title"], expected=walk.some())
    services.evaluate(walk.pack, walk.owner, "lexical")


def share(walk: Walk) -> None:
    known, _ = services.share(walk.pack.pk, walk.owner, walk.friend.email, walk.dice.choice(["viewer", "editor"]))
    if walk.dice.random() < 0.5:
        services.unshare(walk.pack.pk, known.pk)


def hand_over(walk: Walk) -> None:
    services.transfer(walk.pack.pk, walk.friend.email)
    services.transfer(walk.pack.pk, walk.owner.email)


def choose_vectors(walk: Walk) -> None:
    services.choose_embedding(walk.pack.pk, walk.dice.choice([None, "second"]))
    if walk.dice.random() < 0.5:
        services.cancel_migration(walk.pack.pk)


STEPS: dict[str, Callable[[Walk], object]] = {
    step.__name__: step
    for step in (
        add, revise, in_bulk, reorder, purge, describe, set_status, throw_away_and_restore, publish, question, share, hand_over,
        choose_vectors,
    )
} | {"index": lambda walk: index_all(walk.pack)}  # fmt: skip


def snapshot(pack: KnowledgePack) -> dict[str, Any]:
    taken = selectors.pack_snapshot(pack.pk)
    return {**taken, "entries": sorted(taken["entries"], key=lambda entry: str(entry["id"]))}


def events(pack: KnowledgePack) -> list[Any]:
    return [{"seq": row.seq, "type": row.type, "data": row.payload} for row in pack.events.order_by("seq")]


def take(walk: Walk, name: str) -> None:
    """What is refused leaves everything as it is, which the snapshots show too."""
    with suppress(QuorumError):
        STEPS[name](walk)
    walk.pack.refresh_from_db()


@pytest.fixture
def second_model(db: None) -> None:
    services.create_embedding_model(
        name="second", provider="openai", base_url="http://127.0.0.1:1/v1", model="another", dimension=8
    )


names = st.lists(st.sampled_from(sorted(STEPS)), min_size=3, max_size=14)


@settings(
    max_examples=150 if DEEP else 10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=names, seed=st.integers(0, 2**16))
def test_every_snapshot_and_what_follows_gives_the_last(
    user: User, other_user: User, second_model: None, steps: list[str], seed: int
) -> None:
    pack, other = services.create_pack(user, name="Here"), services.create_pack(user, name="There")
    walk = Walk(user, other_user, pack, other, Random(seed))
    taken: dict[UUID, list[dict[str, Any]]] = {one.pk: [EMPTY, snapshot(one)] for one in (pack, other)}
    for name in ["add", *steps]:
        take(walk, name)
        for one in (pack, other):
            taken[one.pk].append(snapshot(one))
    for one in (pack, other):
        log, last = events(one), taken[one.pk][-1]
        assert [event["seq"] for event in log] == list(range(1, last["last_seq"] + 1))
        for state in taken[one.pk]:
            assert reduce_pack(state, log[state["last_seq"] :]) == last


@pytest.mark.parametrize("name", sorted(STEPS))
def test_each_step_is_told_in_full(user: User, other_user: User, second_model: None, name: str) -> None:
    """Every kind of step by itself, on an indexed pack with entries in it and in the trash."""
    pack, other = services.create_pack(user, name="Here"), services.create_pack(user, name="There")
    walk = Walk(user, other_user, pack, other, Random(1))
    services.add_entries(pack, user, [{"title": f"T{n}", "content": f"Text {n}."} for n in range(6)])
    services.bulk_entries(pack, user, "delete", walk.some()[:1])
    if name != "index":
        index_all(pack)
    before = snapshot(pack)
    for _ in range(4):
        take(walk, name)
    after = snapshot(pack)
    assert after["last_seq"] > before["last_seq"], "the step did nothing"
    assert reduce_pack(before, events(pack)[before["last_seq"] :]) == after
