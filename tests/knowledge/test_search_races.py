"""Searches beside writers, and entries in several languages."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from knowledge import indexing, services
from knowledge.models import EmbeddingSpace, Entry, KnowledgePack, PassageVector
from knowledge.search import search
from tests.knowledge.conftest import Fill, index_all

COUNT = 60


@pytest.mark.django_db(transaction=True)
def test_searches_beside_writers_never_err_and_never_show_what_is_gone(
    fill: Fill, pack: KnowledgePack, user: User
) -> None:
    fill([{"title": f"Note {i}", "content": f"espresso machine {i}", "external_id": str(i)} for i in range(COUNT)])
    deleted: set[str] = set()  # external ids whose deletion is committed
    problems: list[str] = []
    done = threading.Event()

    def write() -> None:
        dice = random.Random(7)
        entries = {e.external_id or "": e.pk for e in Entry.objects.filter(pack=pack)}
        for turn in range(120):
            name = dice.choice(sorted(set(entries) - deleted))
            if turn % 4 == 0 and len(deleted) < COUNT // 2:
                services.delete_entry(entries[name])
                deleted.add(name)
            else:
                services.revise_entry(entries[name], user, {"content": f"espresso machine {name}, revised {turn}"})
            if turn % 10 == 5:
                indexing.index_once(pack.pk)

    def read() -> None:
        dice = random.Random(threading.get_ident())
        while not done.is_set():
            gone = set(deleted)
            mode = dice.choice(["hybrid", "lexical", "semantic"])
            result = search([pack], f"espresso machine {dice.randrange(COUNT)}", mode=mode, limit=100)
            shown = {hit.external_id or "" for hit in result.hits}
            if shown & gone:
                problems.append(f"{mode}: deleted entries {shown & gone}")
            if len(shown) != len(result.hits):
                problems.append(f"{mode}: an entry twice")

    _together(read, write, done, problems)
    assert problems == []
    index_all(pack)
    assert len(search([pack], "espresso machine", limit=100).hits) == COUNT - len(deleted)


@pytest.mark.django_db(transaction=True)
def test_a_search_beside_a_change_of_space_never_mixes_two(fill: Fill, pack: KnowledgePack) -> None:
    """The second space holds the first one's vectors turned round, so a mixed ranking would show cosines of both signs."""
    fill([{"title": f"Note {i}", "content": f"espresso machine {i}"} for i in range(COUNT)])
    first = EmbeddingSpace.objects.get(pack=pack)
    second = EmbeddingSpace.objects.create(
        pack=pack, model=first.model, dimension=first.dimension, chunker_version=99, state="future"
    )
    PassageVector.objects.bulk_create(
        PassageVector(space=second, passage_id=v.passage_id, pack=pack, embedding=[-x for x in v.embedding])
        for v in PassageVector.objects.filter(space=first)
    )
    problems: list[str] = []
    done = threading.Event()

    def write() -> None:
        for turn in range(60):
            old, new = (first, second) if turn % 2 == 0 else (second, first)
            _flip(pack, old, new)

    def read() -> None:
        while not done.is_set():
            signs = {(hit.semantic or 0) > 0 for hit in search([pack], "espresso machine", limit=100).hits}
            if len(signs) != 1:
                problems.append(f"{len(signs)} spaces in one ranking")

    _together(read, write, done, problems)
    assert problems == []


def _flip(pack: KnowledgePack, old: EmbeddingSpace, new: EmbeddingSpace) -> None:
    from django.db import transaction

    with transaction.atomic():
        locked = services.locked_pack(pack.pk)
        EmbeddingSpace.objects.filter(pk=old.pk).update(state="past")
        EmbeddingSpace.objects.filter(pk=new.pk).update(state="present")
        locked.index_epoch += 1
        locked.save(update_fields=["index_epoch"])


def _together(read: Callable[[], None], write: Callable[[], None], done: threading.Event, problems: list[str]) -> None:
    """Two readers, each on a connection of its own, until the writer is through."""

    def guarded() -> None:
        try:
            read()
        except Exception as error:  # noqa: BLE001  # handed to the test, which fails by it
            problems.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=guarded) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        write()
    finally:
        done.set()
        for thread in threads:
            thread.join()


# --- Languages ---


@pytest.fixture
def mixed(fill: Fill, pack: KnowledgePack) -> KnowledgePack:
    """An English pack with a German entry."""
    results = fill([
        {"title": "Flats", "content": "Two flats in the old houses were rented.", "external_id": "english"},
        {"title": "Wohnungen", "content": "Die Häuser mit den Wohnungen werden vermietet.", "external_id": "german"},
    ])  # fmt: skip
    german = results[1].entry
    assert german
    Entry.objects.filter(pk=german.pk).update(language="german")
    services.update_pack(pack.pk, {"language": "simple"})  # words are indexed anew
    services.update_pack(pack.pk, {"language": "english"})
    pack.refresh_from_db()
    return pack


@pytest.mark.parametrize(
    ("typed", "found", "marked"),
    [("Haus", "german", "Häuser"), ("haeuser Häusern", "german", "Häuser"), ("house", "english", "houses"),
     ("Wohnung", "german", "Wohnungen"), ("flat", "english", "flats")],
    ids=["stem", "accent", "pack", "plural", "pack-plural"],
)  # fmt: skip
def test_each_entry_is_read_in_its_language(mixed: KnowledgePack, typed: str, found: str, marked: str) -> None:
    (hit,) = search([mixed], typed, mode="lexical").hits
    assert hit.external_id == found
    assert f"<mark>{marked}</mark>" in hit.highlight


def test_a_word_that_one_language_knows_is_not_corrected_in_another(mixed: KnowledgePack, settings: Settings) -> None:
    result = search([mixed], "Wohnungen", mode="lexical", explain=True)
    (leg,) = (result.explain or {})["packs"]
    assert leg["languages"] == ["english", "german"]
    assert [term["typed"] for term in leg["terms"]] == [None]


def test_excluded_words_are_read_in_the_entry_s_language(mixed: KnowledgePack) -> None:
    assert [hit.external_id for hit in search([mixed], "flats Wohnung -Haus").hits] == ["english"]
    assert [hit.external_id for hit in search([mixed], '"den Wohnungen"').hits] == ["german"]
