"""Many entries at once: twins, bulk actions, order; and the log that tells of all of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.models import User
from knowledge import batch, selectors, services
from knowledge.models import Entry, EntryRevision, KnowledgePack, PackShare, Passage, PassageVector, TermStats
from knowledge.search import search
from knowledge.services.bulk import ACTIONS
from knowledge.services.order import _between
from realtime.errors import QuorumError
from tests.conftest import Api
from tests.knowledge.conftest import BREAD, CAFE, SOLAR, Fill, index_all
from tests.knowledge.test_api_packs import ABSENT, pointers, problem, url
from tests.knowledge.test_entries import found, together
from tests.knowledge.test_services import counted_afresh, statistics
from tests.support.reducer import reduce_pack

PLAIN = {"title": "Plain", "content": "Nothing much."}


@pytest.fixture
def entries(pack: KnowledgePack) -> str:
    return f"{url(pack)}/entries"


def ids(pack: KnowledgePack, ordering: str = "ordinal") -> list[str]:
    return [str(pk) for pk in selectors.entries_of(pack).order_by(ordering).values_list("pk", flat=True)]


def statuses(response: Any) -> list[str]:
    assert response.status_code == 207, response.content
    return [result["status"] for result in response.json()["results"]]


# --- Twins ------------------------------------------------------------------------------------------------------------


def test_a_twin_is_refused_by_name(api: Api, entries: str) -> None:
    first = api.post(entries, PLAIN).json()
    body = problem(api.post(entries, {**PLAIN, "external_id": "other", "tags": ["x"]}), 409, "duplicate")
    assert [(error["id"], error["title"]) for error in body["errors"]] == [(first["id"], "Plain")]
    assert Entry.objects.get().tags == []


def test_a_twin_can_be_skipped(api: Api, entries: str) -> None:
    first = api.post(entries, PLAIN).json()
    again = api.post(f"{entries}?on_duplicate=skip", {**PLAIN, "tags": ["x"]})
    assert (again.status_code, again.json()) == (200, first)


def test_a_twin_can_take_what_is_new(api: Api, entries: str) -> None:
    first = api.post(entries, {**PLAIN, "tags": ["old"], "metadata": {"kept": True}}).json()
    new = {**PLAIN, "tags": ["new"], "external_id": "x", "source_url": "https://example.org/"}
    again = api.post(f"{entries}?on_duplicate=update", new)
    assert again.status_code == 200
    body = again.json()
    assert (body["id"], body["tags"], body["external_id"], body["source_url"], body["metadata"], body["revision"]) == (
        first["id"], ["new"], "x", "https://example.org/", {"kept": True}, 1,
    )  # fmt: skip


def test_a_deleted_entry_is_nobodys_twin(api: Api, entries: str) -> None:
    api.delete(f"{entries}/{api.post(entries, PLAIN).json()['id']}")
    assert api.post(entries, PLAIN).status_code == 201


def test_another_way_with_twins_is_400(api: Api, entries: str) -> None:
    problem(api.post(f"{entries}?on_duplicate=replace", PLAIN), 400, "bad_on_duplicate")


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("fail", ["created", "failed", "unchanged", "failed", "failed", "created"]),
        ("skip", ["created", "skipped", "unchanged", "skipped", "skipped", "created"]),
        ("update", ["created", "updated", "unchanged", "updated", "failed", "created"]),
    ],
)
def test_an_array_reports_each_twin(api: Api, entries: str, way: str, expected: list[str]) -> None:
    assert statuses(api.post(entries, [SOLAR, BREAD])) == ["created"] * 2
    items = [
        PLAIN,
        {**PLAIN, "tags": ["twice in this request"]},
        SOLAR,
        {**SOLAR, "external_id": "renamed"},
        {**BREAD, "title": PLAIN["title"], "content": PLAIN["content"]},  # a known entry that would become a twin
        {**PLAIN, "title": "Other"},
    ]
    assert statuses(api.post(f"{entries}?on_duplicate={way}", items)) == expected
    assert Entry.objects.filter(title="Plain").count() == 1
    assert Entry.objects.get(external_id="bread").title == BREAD["title"]


def test_a_failed_twin_says_which_and_why(api: Api, entries: str) -> None:
    first = api.post(entries, PLAIN).json()
    (result,) = api.post(entries, [PLAIN]).json()["results"]
    assert (result["code"], result["errors"][0]["id"], result["errors"][0]["pointer"]) == (
        "duplicate",
        first["id"],
        "/0",
    )


def test_a_text_that_an_item_gives_up_is_free_for_the_next(api: Api, entries: str) -> None:
    api.post(entries, SOLAR)
    moved = {**SOLAR, "content": "Newer words."}
    fresh = {"title": SOLAR["title"], "content": SOLAR["content"]}
    assert statuses(api.post(entries, [moved, fresh])) == ["updated", "created"]


def test_an_external_id_that_a_twin_gives_up_is_free_for_the_next(api: Api, entries: str) -> None:
    api.post(entries, SOLAR)
    items = [{**SOLAR, "external_id": "sun"}, {**PLAIN, "external_id": "solar"}]
    assert statuses(api.post(f"{entries}?on_duplicate=update", items)) == ["updated", "created"]
    assert set(Entry.objects.values_list("external_id", "title")) == {("sun", SOLAR["title"]), ("solar", "Plain")}


@pytest.mark.django_db(transaction=True)
def test_the_same_text_from_two_connections_becomes_one_entry(api: Api, entries: str, pack: KnowledgePack) -> None:
    for turn in range(5):
        items = [{"title": f"T{turn}-{i}", "content": "same"} for i in range(20)]
        first, second = together(partial(api.post, entries, items), partial(api.post, entries, items[::-1]))
        assert sorted(statuses(first) + statuses(second)) == ["created"] * 20 + ["failed"] * 20
    pack.refresh_from_db()
    assert pack.entry_count == Entry.objects.count() == 100


WAYS = st.sampled_from(["fail", "skip", "update"])
ITEM = st.builds(
    lambda text, external, tags: {"title": "T", "content": text, "tags": tags, **({"external_id": external} if external else {})},
    st.sampled_from("abc"),
    st.sampled_from(["", "x", "y", "z"]),
    st.lists(st.sampled_from("rs"), max_size=1),
)  # fmt: skip


@pytest.mark.django_db
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(WAYS, st.lists(ITEM, max_size=5)), max_size=4))
def test_no_batch_leaves_twins_or_raises(batches: list[tuple[batch.OnDuplicate, list[Any]]]) -> None:
    owner, _ = User.objects.get_or_create(email="property@example.org")
    pack = services.create_pack(owner, name="Property")
    for way, items in batches:
        one_by_one = services.add_entries(pack, owner, items, on_duplicate=way)
        assert all((result.entry is None) == (result.status == "failed") for result in one_by_one)
    live = list(selectors.entries_of(pack))
    assert len({entry.content_hash for entry in live}) == len(live) == KnowledgePack.objects.get(pk=pack.pk).entry_count
    assert Passage.objects.filter(pack=pack).count() == len(live)
    assert statistics(pack) == counted_afresh(pack)


# --- Bulk -------------------------------------------------------------------------------------------------------------


def bulk(api: Api, entries: str, action: str, which: list[str], **more: Any) -> Any:
    return api.post(f"{entries}/bulk", {"action": action, "ids": which, **more})


def test_bulk_tags_and_untags(api: Api, pack: KnowledgePack, entries: str, fill: Fill) -> None:
    fill()
    assert statuses(bulk(api, entries, "tag", ids(pack), tags=["food", "new"])) == ["updated"] * 3
    assert all({"food", "new"} <= set(entry.tags) for entry in Entry.objects.all())
    assert statuses(bulk(api, entries, "untag", ids(pack), tags=["roof"])) == ["updated", "unchanged", "unchanged"]
    assert set(Entry.objects.values_list("index_status", "revision_number")) == {("ready", 1)}


def test_bulk_hides_shows_and_reviews(api: Api, user: User, pack: KnowledgePack, entries: str, fill: Fill) -> None:
    fill()
    assert statuses(bulk(api, entries, "disable", ids(pack))) == ["updated"] * 3
    assert found(api, entries, "espresso") == []
    assert statuses(bulk(api, entries, "disable", ids(pack))) == ["unchanged"] * 3
    assert statuses(bulk(api, entries, "enable", ids(pack))) == ["updated"] * 3
    assert found(api, entries, "espresso") == [CAFE["title"]]
    assert statuses(bulk(api, entries, "review", ids(pack))) == ["updated"] * 3
    assert set(Entry.objects.values_list("reviewed_by", flat=True)) == {user.pk}


def test_bulk_deletes_and_restores(api: Api, pack: KnowledgePack, entries: str, fill: Fill) -> None:
    fill()
    which = [*ids(pack), ABSENT]
    assert statuses(bulk(api, entries, "delete", which)) == ["updated"] * 3 + ["failed"]
    assert (Passage.objects.exists(), TermStats.objects.exists(), found(api, entries, "espresso")) == (False, False, [])
    assert statuses(bulk(api, entries, "tag", which, tags=["x"])) == ["failed"] * 4
    api.post(entries, {**CAFE, "external_id": None})
    assert statuses(bulk(api, entries, "restore", which)) == ["updated", "updated", "failed", "failed"]
    results = bulk(api, entries, "restore", which).json()["results"]
    assert [result["code"] for result in results] == ["not_deleted", "not_deleted", "duplicate", "not_found"]
    pack.refresh_from_db()
    assert pack.entry_count == 3
    assert statistics(pack) == counted_afresh(pack)


def test_two_of_a_kind_in_the_trash_are_not_both_restored(api: Api, pack: KnowledgePack, entries: str) -> None:
    which = []
    for _ in range(2):
        which.append(api.post(entries, SOLAR).json()["id"])
        bulk(api, entries, "delete", which)
    assert statuses(bulk(api, entries, "restore", which)) == ["updated", "failed"]


def test_bulk_retries_what_has_failed(api: Api, pack: KnowledgePack, entries: str, fill: Fill) -> None:
    fill([SOLAR, BREAD], index=False)
    first, second = ids(pack)
    Entry.objects.filter(pk=first).update(index_status="indexing", lease_expires_at="2030-01-01T00:00:00Z")
    Entry.objects.filter(pk=first).update(index_status="failed", index_error="odd", lease_expires_at=None)
    assert statuses(bulk(api, entries, "retry", [first, second])) == ["updated", "failed"]
    assert Entry.objects.get(pk=first).index_error == ""


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/action"),
        ({"action": "burn", "ids": [ABSENT]}, "/action"),
        ({"action": "tag", "ids": [ABSENT]}, "/tags"),
        ({"action": "tag", "ids": [ABSENT], "tags": []}, "/tags"),
        ({"action": "tag", "ids": [ABSENT], "tags": ["x" * 51]}, "/tags/0"),
        ({"action": "move", "ids": [ABSENT]}, "/to"),
        ({"action": "delete", "ids": [ABSENT], "to": ABSENT}, "/to"),
        ({"action": "delete", "ids": []}, "/ids"),
        ({"action": "delete", "ids": ["x"]}, "/ids/0"),
        ({"action": "delete", "ids": [ABSENT] * 501}, "/ids"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_bulk_is_refused(api: Api, entries: str, body: dict[str, Any], pointer: str) -> None:
    assert pointer in pointers(api.post(f"{entries}/bulk", body))


# --- Moving -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def other(user: User) -> KnowledgePack:
    return services.create_pack(user, name="Other", language="german")


def test_moved_entries_are_found_there_and_not_here(
    api: Api, pack: KnowledgePack, other: KnowledgePack, entries: str, fill: Fill
) -> None:
    fill()
    which = ids(pack)
    assert statuses(bulk(api, entries, "move", which[:2], to=str(other.pk))) == ["updated"] * 2
    index_all(other)
    for one in (pack, other):
        one.refresh_from_db()
        assert statistics(one) == counted_afresh(one)
        assert one.entry_count == len(ids(one))
        assert PassageVector.objects.filter(pack=one).count() == one.passage_count == len(ids(one))
    assert (ids(other), found(api, entries, "sourdough")) == (which[:2], [])
    assert found(api, f"{url(other)}/entries", "sourdough") == [BREAD["title"]]
    assert EntryRevision.objects.count() == 3


def test_what_the_other_pack_has_already_stays(
    api: Api, user: User, pack: KnowledgePack, other: KnowledgePack, entries: str, fill: Fill
) -> None:
    fill()
    services.add_entries(other, user, [{**PLAIN, "external_id": "solar"}, {**BREAD, "external_id": "b"}])
    response = bulk(api, entries, "move", ids(pack), to=str(other.pk))
    assert [result.get("code") for result in response.json()["results"]] == ["external_id_taken", "duplicate", None]


def test_a_move_needs_the_role_in_both_packs(
    api: Api, other_api: Api, other_user: User, user: User, pack: KnowledgePack, entries: str, fill: Fill
) -> None:
    fill()
    theirs = services.create_pack(other_user, name="Theirs")
    problem(bulk(api, entries, "move", ids(pack), to=str(theirs.pk)), 404)
    PackShare.objects.create(pack=theirs, user=user, role="viewer")
    problem(bulk(api, entries, "move", ids(pack), to=str(theirs.pk)), 403, "role_too_low")
    problem(bulk(other_api, entries, "move", ids(pack), to=str(theirs.pk)), 404)
    problem(bulk(api, entries, "move", ids(pack), to=str(pack.pk)), 400, "bad_to")
    assert len(ids(pack)) == 3


@pytest.mark.django_db(transaction=True)
def test_moves_against_each_other_do_not_deadlock(
    user: User, pack: KnowledgePack, other: KnowledgePack, fill: Fill
) -> None:
    fill(index=False)
    services.add_entries(other, user, [PLAIN])

    def shuttle(source: KnowledgePack, target: KnowledgePack) -> None:
        for _ in range(10):
            which = [UUID(entry) for entry in ids(source)]
            services.bulk_entries(source, user, "move", which, to=target)

    together(partial(shuttle, pack, other), partial(shuttle, other, pack))
    assert len(ids(pack)) + len(ids(other)) == 4
    for one in (pack, other):
        one.refresh_from_db()
        assert (one.entry_count, statistics(one)) == (len(ids(one)), counted_afresh(one))


# --- Order ------------------------------------------------------------------------------------------------------------


def reorder(api: Api, entries: str, which: list[str], **where: Any) -> Any:
    return api.post(f"{entries}/reorder", {"ids": which, **where})


def test_entries_move_before_after_to_the_start_and_the_end(
    api: Api, pack: KnowledgePack, entries: str, fill: Fill
) -> None:
    fill([{"title": f"T{i}", "content": str(i)} for i in range(5)], index=False)
    a, b, c, d, e = ids(pack)
    response = reorder(api, entries, [d, b], before=a)
    assert {row["id"] for row in response.json()["results"]} == {d, b}  # the others keep their places
    assert ids(pack) == [d, b, a, c, e]
    reorder(api, entries, [d], after=c)
    assert ids(pack) == [b, a, c, d, e]
    reorder(api, entries, [a, c], before=None)
    assert ids(pack) == [b, d, e, a, c]
    reorder(api, entries, [c], after=None)
    assert ids(pack) == [c, b, d, e, a]
    assert set(Entry.objects.values_list("version", flat=True)) == {1}


def test_where_there_is_no_room_the_pack_is_numbered_anew(
    api: Api, pack: KnowledgePack, entries: str, fill: Fill
) -> None:
    fill(index=False)
    for place, entry in enumerate(ids(pack, "pk")):
        Entry.objects.filter(pk=entry).update(ordinal=place // 2)
    a, b, c = ids(pack, "pk")
    assert len(reorder(api, entries, [c], before=a).json()["results"]) == 3
    assert ids(pack) == [c, a, b]


@given(st.integers(0, 500), st.one_of(st.none(), st.integers(0, 1000)), st.integers(1, 20))
def test_new_places_lie_between_the_neighbours(low: int, high: int | None, count: int) -> None:
    places = _between(low, None if high is None else low + high, count)
    assert places == sorted(set(places))
    assert all(low < place for place in places)
    assert high is None or all(place < low + high for place in places)
    assert len(places) == (count if high is None or high > count else 0)


@pytest.mark.parametrize("where", [{}, {"before": None, "after": None}], ids=["neither", "both"])
def test_an_order_names_one_side(api: Api, entries: str, where: dict[str, Any]) -> None:
    assert "/before" in pointers(reorder(api, entries, [ABSENT], **where))


def test_an_order_of_strangers_is_refused(api: Api, pack: KnowledgePack, entries: str, fill: Fill) -> None:
    fill(index=False)
    a, b, c = ids(pack)
    assert pointers(reorder(api, entries, [a, ABSENT, a], after=b)) == {"/ids/1", "/ids/2"}
    problem(reorder(api, entries, [a], after=a), 400, "bad_order")
    problem(reorder(api, entries, [a], after=ABSENT), 400, "bad_order")
    assert ids(pack) == [a, b, c]


# --- The log ----------------------------------------------------------------------------------------------------------


def snapshot(pack: KnowledgePack) -> Any:
    taken = selectors.pack_snapshot(pack.pk)
    return {**taken, "entries": sorted(taken["entries"], key=lambda entry: str(entry["id"]))}


def events(pack: KnowledgePack, after: int) -> list[Any]:
    rows = pack.events.filter(seq__gt=after).order_by("seq")
    return [{"seq": row.seq, "type": row.type, "data": row.payload} for row in rows]


def test_every_snapshot_and_what_follows_gives_the_last(
    user: User, pack: KnowledgePack, other: KnowledgePack, fill: Fill
) -> None:
    """A walk through everything that can be done to entries, told to watchers of both packs."""
    draw = random.Random(3)
    fill([{"title": f"T{i}", "content": f"Text {i}", "external_id": str(i)} for i in range(12)])
    taken = {one: [snapshot(one)] for one in (pack, other)}
    for turn in range(40):
        _anything(draw, turn, user, pack, other)
        for one, states in taken.items():
            states.append(snapshot(one))
    for one, states in taken.items():
        for state in states:
            assert reduce_pack(state, events(one, state["last_seq"])) == states[-1]
        one.refresh_from_db()
        assert statistics(one) == counted_afresh(one)
    gone = set(selectors.trash_of(pack).values_list("pk", flat=True))
    assert not gone & {hit.entry_id for hit in search([pack], "text turn new", mode="lexical", limit=50).hits}


def _anything(draw: random.Random, turn: int, user: User, pack: KnowledgePack, other: KnowledgePack) -> None:
    """One thing that people or workers do to a pack, by lot."""
    live, trashed = [*selectors.entries_of(pack)], [*selectors.trash_of(pack)]
    some = [one.pk for one in draw.sample(live, min(3, len(live)))]
    special: dict[str, Callable[[], object]] = {
        "revise": lambda: services.revise_entry(some[0], user, {"content": f"Turn {turn}", "tags": [str(turn)]}),
        "language": lambda: services.revise_entry(some[0], user, {"language": "german", "review_by": "2030-01-01"}),
        "order": lambda: services.reorder_entries(pack.pk, some[1:], "before", some[0]),
        "add": lambda: services.add_entries(pack, user, [{**PLAIN, "tags": [str(turn)]}], on_duplicate="update"),
        "index": lambda: index_all(pack),
    }
    name = draw.choice([*ACTIONS, *special])
    if name in special:
        special[name]()
    for action in (known for known in ACTIONS if known == name):
        which = [one.pk for one in trashed] if action == "restore" else some[:1]
        services.bulk_entries(pack, user, action, which, tags=["t", str(turn)], to=other)


def test_an_array_takes_few_statements(pack: KnowledgePack, user: User, django_assert_max_num_queries: Any) -> None:
    items = [{"title": f"T{i}", "content": f"Text {i}"} for i in range(100)]
    with django_assert_max_num_queries(25):
        services.add_entries(pack, user, items)
    with django_assert_max_num_queries(15):
        services.add_entries(pack, user, items, on_duplicate="skip")


@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "move"])
def test_nothing_is_done_to_entries_of_a_pack_in_the_trash(pack: KnowledgePack, fill: Fill, action: Any) -> None:
    (result,) = fill([SOLAR])
    assert result.entry
    services.delete_pack(pack.pk)
    before = Entry.objects.values().get()
    with pytest.raises(QuorumError):
        services.bulk_entries(pack, None, action, [result.entry.pk], tags=["x"])
    assert Entry.objects.values().get() == before
