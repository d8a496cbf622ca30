"""Changes of packs and entries, what they leave in the tables and what they write in the log."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from knowledge import chunking, selectors, services, words
from knowledge.batch import ItemResult
from knowledge.models import Entry, EntryRevision, KnowledgePack, Passage, PassageLexical, PassageVector, TermStats
from knowledge.states import PackStatus
from realtime.errors import Conflict, IllegalState, InvalidInput, NotFound
from tests.knowledge.conftest import BREAD, CAFE, ITEMS, SOLAR, Fill, index_all


def entry_of(result: ItemResult) -> Entry:
    assert result.entry is not None
    return result.entry


def events(pack: KnowledgePack) -> list[str]:
    return list(pack.events.order_by("seq").values_list("type", flat=True))


def statistics(pack: KnowledgePack) -> dict[str, int]:
    return dict(TermStats.objects.filter(pack=pack).values_list("lexeme", "df"))


def counted_afresh(pack: KnowledgePack) -> dict[str, int]:
    """Document frequencies straight from the stored tsvectors."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT lexeme, count(*) FROM knowledge_passagelexical, unnest(tsv)"
            " WHERE pack_id = %s AND lexeme <> %s GROUP BY lexeme",
            [pack.pk, words.pack_mark(pack.pk)],
        )
        return dict(cursor.fetchall())


# --- Packs ----------------------------------------------------------------------------------------------------------


def test_a_new_pack_is_a_draft_with_one_event(pack: KnowledgePack) -> None:
    assert (pack.status, pack.version, pack.last_seq) == ("draft", 1, 1)
    event = pack.events.get()
    assert (event.type, event.payload["pack"]["name"]) == ("pack.created", "Notes")


def test_an_edit_raises_the_version_and_an_empty_edit_does_not(pack: KnowledgePack) -> None:
    assert services.update_pack(pack.pk, {"name": "Better"}).version == 2
    assert services.update_pack(pack.pk, {"name": "Better"}).version == 2
    assert events(pack) == ["pack.created", "pack.updated"]


def test_a_step_that_the_table_does_not_have_is_illegal(pack: KnowledgePack) -> None:
    with pytest.raises(IllegalState) as caught:
        services.update_pack(pack.pk, {"status": "archived"})
    assert caught.value.code == "illegal_transition"
    assert events(pack) == ["pack.created"]


def test_a_deleted_pack_is_gone_for_everybody(pack: KnowledgePack, user: User) -> None:
    services.delete_pack(pack.pk)
    with pytest.raises(NotFound):
        selectors.pack_for(user, pack.pk)
    with pytest.raises(NotFound):
        services.update_pack(pack.pk, {"name": "x"})
    with pytest.raises(IllegalState):
        services.add_entries(pack, user, ITEMS)


def test_the_version_is_checked_under_the_lock(pack: KnowledgePack) -> None:
    seen: list[int] = []
    services.update_pack(pack.pk, {"name": "x"}, precondition=seen.append)
    assert seen == [1]


# --- Adding ---------------------------------------------------------------------------------------------------------


def test_added_entries_have_passages_that_are_their_text(fill: Fill, pack: KnowledgePack) -> None:
    results = fill(index=False)
    assert [result.status for result in results] == ["created"] * 3
    assert pack.entry_count == 3
    for passage in Passage.objects.select_related("revision"):
        assert passage.revision.content[passage.start : passage.end] == passage.text
    assert events(pack) == ["pack.created"] + ["entry.created"] * 3


def test_a_bad_item_does_not_sink_the_rest(fill: Fill, pack: KnowledgePack) -> None:
    results = fill([SOLAR, {"title": ""}, "text", {**BREAD, "colour": "red"}, CAFE], index=False)
    assert [result.status for result in results] == ["created", "failed", "failed", "failed", "created"]
    assert {error["pointer"] for error in results[1].errors} == {"/1/title", "/1/content"}
    assert results[3].errors == [{"pointer": "/3/colour", "detail": "Extra inputs are not permitted"}]
    assert pack.entry_count == 2


def test_the_same_again_changes_nothing(fill: Fill, pack: KnowledgePack) -> None:
    fill(index=False)
    seq = pack.last_seq
    assert [result.status for result in fill(index=False)] == ["unchanged"] * 3
    assert pack.last_seq == seq
    assert EntryRevision.objects.count() == 3


def test_new_content_under_a_known_external_id_makes_a_revision(fill: Fill, pack: KnowledgePack) -> None:
    (before,) = fill([SOLAR])
    (after,) = fill([{**SOLAR, "content": "Modules age slowly."}], index=False)
    assert (after.status, after.revised) == ("updated", True)
    entry = Entry.objects.get()
    assert (entry.pk, entry.revision_number, entry.index_status) == (entry_of(before).pk, 2, "pending")
    assert list(EntryRevision.objects.order_by("number").values_list("number", flat=True)) == [1, 2]
    assert list(Passage.objects.values_list("text", flat=True)) == ["Modules age slowly."]
    assert events(pack)[-1] == "entry.revised"


def test_new_tags_alone_make_no_revision_and_keep_the_vectors(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR])
    (result,) = fill([{**SOLAR, "tags": ["sun"]}], index=False)
    assert (result.status, result.revised) == ("updated", False)
    entry = Entry.objects.get()
    assert (entry.tags, entry.revision_number, entry.index_status) == (["sun"], 1, "ready")
    assert PassageVector.objects.count() == 1
    assert events(pack)[-1] == "entry.updated"


def test_an_external_id_may_stand_once_in_a_request(fill: Fill) -> None:
    results = fill([SOLAR, {**BREAD, "external_id": "solar"}], index=False)
    assert [result.status for result in results] == ["created", "failed"]
    assert results[1].errors[0]["pointer"] == "/1/external_id"


@pytest.mark.parametrize("status", [PackStatus.ARCHIVED, PackStatus.DELETED])
def test_a_closed_pack_takes_no_entries(fill: Fill, pack: KnowledgePack, user: User, status: str) -> None:
    fill()
    if status == PackStatus.ARCHIVED:
        services.update_pack(pack.pk, {"status": status})
    else:
        services.delete_pack(pack.pk)
    with pytest.raises(IllegalState) as caught:
        services.add_entries(pack, user, [{"title": "t", "content": "c"}])
    assert caught.value.code == "pack_closed"
    assert Entry.objects.count() == 3


# --- Revising, hiding, deleting -------------------------------------------------------------------------------------


def test_revising_keeps_what_is_not_named(fill: Fill, user: User) -> None:
    (result,) = fill([CAFE])
    entry = services.revise_entry(entry_of(result).pk, user, {"title": "Café"}, note="shorter")
    assert (entry.title, entry.tags, entry.external_id) == ("Café", CAFE["tags"], "cafe")
    revision = EntryRevision.objects.get(number=2)
    assert (revision.content, revision.note, revision.author) == (CAFE["content"], "shorter", user)


def test_a_taken_external_id_is_a_conflict(fill: Fill, user: User) -> None:
    first, _, _ = fill(index=False)
    with pytest.raises(Conflict):
        services.revise_entry(entry_of(first).pk, user, {"external_id": "bread"})


def test_a_bad_revision_is_refused_with_its_pointer(fill: Fill, user: User) -> None:
    first, _, _ = fill(index=False)
    with pytest.raises(InvalidInput) as caught:
        services.revise_entry(entry_of(first).pk, user, {"content": " "})
    assert caught.value.errors == [{"pointer": "/content", "detail": "may not be blank"}]


def test_a_deleted_entry_leaves_its_revisions_and_nothing_to_find(fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR])
    services.delete_entry(entry_of(result).pk)
    pack.refresh_from_db()
    assert (pack.entry_count, pack.passage_count, pack.passage_length) == (0, 0, 0)
    assert not Passage.objects.exists()
    assert not PassageVector.objects.exists()
    assert not TermStats.objects.exists()
    assert selectors.revision_text(entry_of(result).revision_id) == SOLAR["content"]
    with pytest.raises(NotFound):
        services.delete_entry(entry_of(result).pk)


def test_the_external_id_of_a_deleted_entry_is_free_again(fill: Fill) -> None:
    (result,) = fill([SOLAR], index=False)
    services.delete_entry(entry_of(result).pk)
    (again,) = fill([SOLAR], index=False)
    assert again.status == "created"


# --- Statistics and events stay true --------------------------------------------------------------------------------

STEP = st.tuples(st.sampled_from(["add", "revise", "delete"]), st.integers(0, 3), st.integers(0, 5))
TEXTS = [
    "red",
    "red green",
    "green blue blue",
    "the",
    "Zürich café red red",
    "# One\n\nblue\n\n## Two\n\n" + "green " * 300,
]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, max_size=8))
def test_term_statistics_always_equal_a_fresh_count(user: User, steps: list[tuple[str, int, int]]) -> None:
    pack = services.create_pack(user, name="Property")
    for kind, slot, text in steps:
        item = {"title": f"Slot {slot}", "content": TEXTS[text], "external_id": str(slot)}
        known = Entry.objects.filter(pack=pack, external_id=str(slot), deleted_at=None).first()
        if kind == "delete" and known:
            services.delete_entry(known.pk)
        elif kind == "revise" and known:
            services.revise_entry(known.pk, user, {"content": TEXTS[text]})
        else:
            services.add_entries(pack, user, [item])
    pack.refresh_from_db()
    lengths = list(PassageLexical.objects.filter(pack=pack).values_list("dl", flat=True))
    assert statistics(pack) == counted_afresh(pack)
    assert (pack.passage_count, pack.passage_length) == (len(lengths), sum(lengths))
    assert not words.drifted(pack)


def test_stored_weights_are_bm25(fill: Fill, pack: KnowledgePack) -> None:
    fill(index=False)
    average = pack.passage_length / pack.passage_count
    for row in PassageLexical.objects.filter(pack=pack):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT (hashtext(lexeme) & (2 ^ 29)::int - 1) + 1, cardinality(positions)"
                " FROM knowledge_passagelexical, unnest(tsv) WHERE passage_id = %s AND positions IS NOT NULL",
                [row.pk],
            )
            expected = {key - 1: _bm25(tf, row.dl, average) for key, tf in cursor.fetchall()}
        stored = dict(zip(row.bm.indices(), row.bm.values(), strict=True))
        # Weights may be as stale as the drift of the average length that is let pass.
        assert stored == pytest.approx(expected, rel=0.05)


def _bm25(tf: int, length: int, average: float) -> float:
    return tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average))


def test_another_language_indexes_the_words_anew(fill: Fill, pack: KnowledgePack) -> None:
    fill([{"title": "Haus", "content": "Die Häuser der Stadt"}], index=False)
    services.update_pack(pack.pk, {"language": "german"})
    pack.refresh_from_db()
    assert statistics(pack) == counted_afresh(pack) == {"haus": 1, "stadt": 1}


def test_snapshot_and_later_events_give_the_later_snapshot(fill: Fill, pack: KnowledgePack, user: User) -> None:
    fill([SOLAR], index=False)
    states = [selectors.pack_snapshot(pack.pk)]
    (bread,) = fill([BREAD])
    states.append(selectors.pack_snapshot(pack.pk))
    services.revise_entry(entry_of(bread).pk, user, {"content": "Rye."})
    services.set_entry_enabled(entry_of(bread).pk, enabled=False)
    states.append(selectors.pack_snapshot(pack.pk))
    index_all(pack)
    services.delete_entry(Entry.objects.get(external_id="solar").pk)
    services.update_pack(pack.pk, {"name": "Other", "tags": ["a"]})
    last = selectors.pack_snapshot(pack.pk)
    for state in states:
        assert replay(pack, state) == last


def replay(pack: KnowledgePack, state: dict[str, Any]) -> dict[str, Any]:
    """A client's reducer: merge what each event carries into the snapshot."""
    header, entries = dict(state["pack"]), {entry["id"]: dict(entry) for entry in state["entries"]}
    for event in pack.events.filter(seq__gt=state["last_seq"]).order_by("seq"):
        header |= event.payload["pack"]
        if entry := event.payload.get("entry"):
            entries[entry["id"]] = {**entries.get(entry["id"], {}), **entry}
            if event.type == "entry.deleted":
                del entries[entry["id"]]
        state = {**state, "last_seq": event.seq}
    return {"pack": header, "entries": list(entries.values()), "last_seq": state["last_seq"]}


def test_the_chunker_version_is_recorded(fill: Fill) -> None:
    fill(index=False)
    assert set(Passage.objects.values_list("chunker_version", flat=True)) == {chunking.CHUNKER_VERSION}
