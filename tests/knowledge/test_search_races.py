"""Searches beside writers, and entries in several languages."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import User
from knowledge import indexing, services, spaces, tasks, words
from knowledge.models import EmbeddingSpace, Entry, KnowledgePack, PassageLexical, PassageVector, TermStats
from knowledge.search import SearchResult, search
from tests.knowledge.conftest import Fill, index_all
from tests.knowledge.embedding_server import EmbeddingServer

# --- A search beside writers: a writer, an index worker and two readers, each on a connection of its own -------------

COUNT = 1000
BITE = 100  # entries that the writer changes in one transaction
EXAMPLES = 2 if hypothesis_settings().max_examples <= 100 else 60  # beside the explicit one; 60 with make deep
QUERIES = ("espresso machine", "water pump number 7", "the cold tower", "heat 411 -espresso", '"water pump"')
SUBJECTS = ("espresso machine", "water pump", "cold tower", "heat exchanger")


class TwoModels(EmbeddingServer):
    """Two models whose cosines tell them apart: about 0.3 within ``up``, about 0.5 within ``down``, and more where a query of one
    meets a passage of the other, so that what does not belong comes first."""

    AXES = {
        ("up", True): (0.3, 0.9, 0.316), ("down", True): (0.8, 0.5, 0.332),
        ("up", False): (1.0, 0.0, 0.0), ("down", False): (0.0, 1.0, 0.0),
    }  # fmt: skip

    def vector(self, model: str, text: str) -> list[float]:
        noise = super().vector(model, text)[3:]
        return [*self.AXES[model, text.startswith("query: ")], *(x / 3000 for x in noise)]


def space_of(cosine: float) -> str:
    return "up" if 0.25 < cosine < 0.35 else "down" if 0.45 < cosine < 0.55 else f"neither ({cosine:.2f})"


def text_of(number: int, revision: int) -> str:
    return f"{SUBJECTS[number % len(SUBJECTS)]} number {number}, revision {revision}"


@dataclass(slots=True)
class Shown:
    """A time in which searches may return a revision: from before the call that shows it until after the one that hides it."""

    revision: int
    opened: float
    closed: float = float("inf")


@dataclass(slots=True)
class State:
    """Of an entry, by what the writer has done to it."""

    history: list[Shown]
    revision: int = 1
    deleted: bool = False
    enabled: bool = True

    @property
    def current(self) -> Shown | None:
        return self.history[-1] if self.enabled and not self.deleted else None

    def allows(self, revision: int, began: float, ended: float) -> bool:
        """Whether a search that took this long had a right to the revision."""
        return any(s.revision == revision and s.opened <= ended and s.closed >= began for s in self.history)


class Race:
    """The pack, what a search of it may show, and what went wrong."""

    def __init__(self, pack: KnowledgePack, user: User, ids: Sequence[UUID]) -> None:
        self.pack, self.user, self.ids = pack, user, ids
        self.number = {entry: number for number, entry in enumerate(ids)}
        self.states = {entry: State([Shown(1, 0.0)]) for entry in ids}
        self.problems: list[str] = []
        self.seen: Counter[str] = Counter()
        self.idle = threading.Event()  # the worker has found nothing to do since the writer ended
        self.written = threading.Event()

    # The writer.

    @contextmanager
    def change(self, ids: Sequence[UUID], revised: bool = False, **fields: bool) -> Iterator[None]:
        """Around the call of the service that does this to the entries."""
        former = [self.states[entry].current for entry in ids]
        now = time.monotonic()
        for entry in ids:
            state = self.states[entry]
            state.revision += revised
            for name, value in fields.items():
                setattr(state, name, value)
            if state.enabled and not state.deleted:
                state.history.append(Shown(state.revision, now))
        yield
        now = time.monotonic()
        for shown in former:
            if shown:
                shown.closed = now

    def step(self, kind: str, first: int, count: int) -> None:
        """In bites, so that there is much for a search to fall between."""
        if not count:
            self.move(kind)
        for place in range(first, first + count, BITE):
            self.bite(kind, [self.ids[i % COUNT] for i in range(place, min(place + BITE, first + count))])

    def bite(self, kind: str, some: Sequence[UUID]) -> None:
        alive = [entry for entry in some if not self.states[entry].deleted]
        if kind == "revise":
            with self.change(alive, revised=True):
                services.add_entries(self.pack, self.user, [self.item(entry) for entry in alive])
        elif kind == "revise singly":
            for entry in alive[:20]:
                with self.change([entry], revised=True):
                    services.revise_entry(entry, self.user, {"content": self.item(entry)["content"]})
        elif kind == "delete":
            with self.change(alive, deleted=True):
                services.bulk_entries(self.pack, self.user, "delete", alive)
        elif kind == "restore":
            gone = [entry for entry in some if self.states[entry].deleted]
            with self.change(gone, deleted=False):
                services.bulk_entries(self.pack, self.user, "restore", gone)
        elif kind in ("enable", "disable"):
            with self.change(alive, enabled=kind == "enable"):
                services.bulk_entries(self.pack, self.user, kind, alive)  # type: ignore[arg-type]  # as checked

    def move(self, kind: str) -> None:
        if kind == "reembed":
            services.reembed(self.pack.pk)
        elif kind == "wait":
            while EmbeddingSpace.objects.filter(state="future").exists() and not self.idle.is_set():
                time.sleep(0.01)
        else:
            services.choose_embedding(self.pack.pk, kind)

    def item(self, entry: UUID) -> dict[str, str]:
        number, revision = self.number[entry], self.states[entry].revision
        return {"external_id": str(number), "title": f"Note {number}", "content": text_of(number, revision)}

    # The index worker.

    def work(self) -> None:
        while not self.idle.is_set():
            last = self.written.is_set()
            busy = indexing.index_once(self.pack.pk) or spaces.work(self.pack.pk, time.monotonic() + 0.2)
            tasks.drop_spaces()
            if last and not busy and not EmbeddingSpace.objects.filter(state="future").exists():
                self.idle.set()

    # The readers.

    def read(self) -> None:
        dice = random.Random(threading.get_ident())
        while not self.idle.is_set():
            mode = dice.choice(["hybrid", "lexical", "semantic"])
            began = time.monotonic()
            query = f"{dice.choice(QUERIES)} {dice.choice(['', dice.randrange(COUNT)])}"  # half of them are not cached
            result = search([self.pack], query, mode=mode, limit=100)
            self.check(result, began, time.monotonic())

    def check(self, result: SearchResult, began: float, ended: float) -> None:
        self.seen[f"{result.mode}, {'cached' if result.cached else 'searched'}"] += 1
        for hit in result.hits:
            if not self.states[hit.entry_id].allows(hit.revision, began, ended):
                self.problems.append(f"{result.mode}: revision {hit.revision} of {self.states[hit.entry_id]}")
            if hit.text != text_of(self.number[hit.entry_id], hit.revision):
                self.problems.append(f"{result.mode}: {hit.text!r} is not of revision {hit.revision}")
        if len({hit.entry_id for hit in result.hits}) != len(result.hits):
            self.problems.append(f"{result.mode}: an entry twice")
        found = {space_of(hit.semantic) for hit in result.hits if hit.semantic is not None}
        self.seen.update(f"in {space}" for space in found)
        if len(found) > 1 or found - {"up", "down"}:
            self.problems.append(f"{result.mode}: {found}")

    # All of them.

    def run(self, steps: Sequence[tuple[str, int, int]]) -> None:
        self.idle.clear()
        self.written.clear()
        threads = [threading.Thread(target=self.guarded, args=[what]) for what in (self.work, self.read, self.read)]
        for thread in threads:
            thread.start()
        try:
            for step in steps:
                self.step(*step)
        finally:
            self.written.set()
            for thread in threads:
                thread.join()

    def guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001  # handed to the test, which fails by it
            self.problems.append(f"{what.__name__}: {error!r}")
            self.idle.set()
        finally:
            connection.close()


@pytest.fixture
def race(pack: KnowledgePack, user: User) -> Iterator[Race]:
    with TwoModels() as server:
        for name in ("up", "down"):
            services.create_embedding_model(
                name=name, base_url=server.url, model=name, dimension=8, query_prefix="query: ", batch_size=512
            )
        services.choose_embedding(pack.pk, "up")
        items = [{"external_id": str(i), "title": f"Note {i}", "content": text_of(i, 1)} for i in range(COUNT)]
        results = [r for n in (0, 500) for r in services.add_entries(pack, user, items[n : n + 500])]
        index_all(pack)
        yield Race(pack, user, [result.entry.pk for result in results if result.entry])


BULK = st.tuples(
    st.sampled_from(["revise", "delete", "restore", "disable", "enable", "revise singly"]),
    st.integers(0, COUNT - 1),
    st.sampled_from([BITE, BITE // 2, 2 * BITE, 1]),
)
MOVE = st.tuples(st.sampled_from(["up", "down", "reembed", "wait"]), st.just(0), st.just(0))
EVERYTHING = [
    ("down", 0, 0), ("revise", 0, 300), ("wait", 0, 0), ("delete", 200, 300), ("up", 0, 0), ("revise singly", 0, 100),
    ("restore", 300, 100), ("wait", 0, 0), ("disable", 700, 200), ("reembed", 0, 0), ("revise", 500, 200), ("enable", 800, 200),
]  # fmt: skip


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(900)
@hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # threads do not repeat themselves, so there is nothing to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(steps=EVERYTHING)
@given(steps=st.lists(st.one_of(BULK, MOVE), min_size=3, max_size=7))
def test_searches_beside_writers_never_err_show_what_is_gone_or_mix_spaces(
    race: Race, steps: list[tuple[str, int, int]]
) -> None:
    """Each example goes on with the pack as the one before left it."""
    race.run(steps)
    assert race.problems == []
    assert {"in up", "in down", "hybrid, cached"} <= set(race.seen)  # or nothing was shown
    assert min(race.seen[f"{mode}, searched"] for mode in ("hybrid", "lexical", "semantic")) > 5
    assert_whole(race)


def assert_whole(race: Race) -> None:
    """The index holds what the writer left, no more and no less, with the statistics of exactly that."""
    pack = KnowledgePack.objects.get(pk=race.pack.pk)
    there = {entry for entry, state in race.states.items() if not state.deleted}
    for table in (PassageLexical.objects.filter(live=True), PassageVector.objects.filter(live=True)):
        found = table.values_list("passage__entry", "passage__revision__number")
        assert set(found) == {(entry, race.states[entry].revision) for entry in there}
    assert pack.entry_count == pack.passage_count == len(there)
    counted = Counter(
        lexeme
        for tsv in PassageLexical.objects.extra(select={"words": "tsvector_to_array(tsv)"}).values_list(
            "words", flat=True
        )
        for lexeme in tsv
        if lexeme != words.pack_mark(pack.pk)
    )
    assert dict(TermStats.objects.values_list("lexeme", "df")) == counted


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
