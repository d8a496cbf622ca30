"""Embedding models, and packs that move from one to another without downtime."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from knowledge import ann, chunking, embeddings, indexing, services, spaces, tasks
from knowledge.errors import EmbeddingError
from knowledge.models import (
    EmbeddingModel,
    EmbeddingSpace,
    Entry,
    KnowledgePack,
    PackShare,
    Passage,
    PassageLexical,
    PassageVector,
)
from knowledge.search import search
from realtime import nudge
from realtime.errors import Conflict, IllegalState, InvalidInput
from tests.conftest import Api
from tests.knowledge.conftest import BREAD, SOLAR, Fill, index_all
from tests.knowledge.embedding_server import EmbeddingServer


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as server:
        yield server


@pytest.fixture
def other(server: EmbeddingServer, db: None) -> EmbeddingModel:
    return services.create_embedding_model(name="other", base_url=server.url, model="other-model", dimension=8)


def work(pack: KnowledgePack) -> None:
    """What an index worker does after the nudge."""
    while spaces.work(pack.pk, time.monotonic() + 60):
        pass


def space(pack: KnowledgePack, state: str) -> EmbeddingSpace:
    return EmbeddingSpace.objects.get(pack=pack, state=state)


def states(pack: KnowledgePack) -> list[tuple[str, str]]:
    return sorted(EmbeddingSpace.objects.filter(pack=pack).values_list("state", "model"))


def space_events(pack: KnowledgePack) -> list[str]:
    found = pack.events.filter(type__startswith="pack.space").order_by("seq").values_list("type", flat=True)
    return [kind.removeprefix("pack.space_") for kind in found]


def many(count: int, words: str = "heat flows through the wall") -> list[dict[str, Any]]:
    return [{"title": f"Entry {i}", "content": f"{words} number {i}", "external_id": f"e{i}"} for i in range(count)]


# --- The registry ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://h/v1", "http://", "//h/v1", "http://a:b@h/v1"])
def test_only_web_addresses_are_taken(db: None, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        services.create_embedding_model(name="bad", base_url=url, model="m", dimension=3)
    assert "/base_url" in {error["pointer"] for error in caught.value.errors}


@pytest.mark.parametrize(
    ("field", "value"),
    [("dimension", 0), ("dimension", 4001), ("batch_size", 0), ("batch_chars", 10), ("name", "a b"), ("model", "")],
)
def test_wrong_fields_are_pointed_at(db: None, field: str, value: object) -> None:
    fields = {"name": "bad", "base_url": "http://127.0.0.1/v1", "model": "m", "dimension": 3, field: value}
    with pytest.raises(InvalidInput) as caught:
        services.create_embedding_model(**fields)
    assert caught.value.errors


def test_a_name_is_taken_once(other: EmbeddingModel, server: EmbeddingServer) -> None:
    with pytest.raises(InvalidInput):
        services.create_embedding_model(name="other", base_url=server.url, model="m", dimension=8)


def test_the_list_tells_no_address_and_no_key(api: Api, other: EmbeddingModel) -> None:
    services.update_embedding_model(other.pk, {"api_key_env": "SOME_KEY"})
    services.disable_embedding_model(
        services.create_embedding_model(name="old", base_url="http://127.0.0.1/v1", model="m", dimension=3).pk
    )
    (row,) = api.get("/api/embedding-models").json()["results"]
    assert row == {"name": "other", "provider": "openai", "model": "other-model", "dimension": 8, "enabled": True}


def test_what_makes_the_vectors_is_fixed_once_packs_hold_some(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel
) -> None:
    fill([SOLAR])
    services.choose_embedding(pack.pk, "other")
    with pytest.raises(Conflict):
        services.update_embedding_model(other.pk, {"dimension": 4})
    assert services.update_embedding_model(other.pk, {"batch_size": 3}).batch_size == 3


def test_the_built_in_model_can_be_registered_as_it_is(db: None) -> None:
    made = services.create_embedding_model(name="minilm", provider="builtin", model="all-MiniLM-L6-v2", dimension=384)
    assert embeddings.embedder_for(made).dimension == 384
    with pytest.raises(InvalidInput):
        services.create_embedding_model(name="wide", provider="builtin", model="all-MiniLM-L6-v2", dimension=385)


# --- Embedders ------------------------------------------------------------------------------------------------------


def test_prefixes_limits_and_the_key_of_the_environment_reach_the_server(
    other: EmbeddingModel, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "from-the-environment")
    changes = {"api_key_env": "OTHER_KEY", "query_prefix": "query: ", "passage_prefix": "passage: ", "batch_size": 2}
    model = services.update_embedding_model(other.pk, {**changes, "send_dimension": True})
    embeddings.embedder_for(model).embed_passages(["a", "b", "c"])
    embeddings.query_vector("what", model)
    assert [body["input"] for body in server.requests] == [
        ["passage: a", "passage: b"],
        ["passage: c"],
        ["query: what"],
    ]
    assert {body["dimensions"] for body in server.requests} == {8}
    assert set(server.keys) == {"Bearer from-the-environment"}


def test_a_request_has_no_more_characters_than_the_server_takes(other: EmbeddingModel, server: EmbeddingServer) -> None:
    model = services.update_embedding_model(other.pk, {"batch_chars": 1000})
    embeddings.embedder_for(model).embed_passages(["x" * 600, "y" * 400, "z" * 1500, "w"])
    assert [len(body["input"]) for body in server.requests] == [2, 1, 1]


def test_a_key_that_is_not_set_is_named(other: EmbeddingModel) -> None:
    model = services.update_embedding_model(other.pk, {"api_key_env": "NOT_SET_ANYWHERE"})
    with pytest.raises(EmbeddingError, match="NOT_SET_ANYWHERE") as caught:
        embeddings.embedder_for(model)
    assert caught.value.permanent


def test_queries_are_asked_once_and_again_after_an_edit(other: EmbeddingModel, server: EmbeddingServer) -> None:
    first = embeddings.query_vector("solar power", other)
    assert embeddings.query_vector("solar power", EmbeddingModel.objects.get()) is first
    edited = services.update_embedding_model(other.pk, {"query_prefix": "query: "})
    assert embeddings.query_vector("solar power", edited) is not first
    assert server.texts == ["solar power", "query: solar power"]


def test_another_dimension_than_the_registered_one_is_refused(other: EmbeddingModel, server: EmbeddingServer) -> None:
    server.width = 5
    with pytest.raises(EmbeddingError, match=r"\[5\] dimensions for 1 texts; 8 dimensions were expected"):
        embeddings.query_vector("x", other)


def test_an_answer_of_another_shape_is_an_embedding_error(other: EmbeddingModel, server: EmbeddingServer) -> None:
    server.answer = lambda *_: (200, {"data": [{"embedding": "nonsense"}]})  # type: ignore[method-assign]  # on purpose
    with pytest.raises(EmbeddingError, match="holds no vectors"):
        embeddings.query_vector("y", other)


# --- Moving to another model ----------------------------------------------------------------------------------------


def test_a_pack_moves_to_another_model(fill: Fill, pack: KnowledgePack, other: EmbeddingModel, api: Api) -> None:
    fill()
    epoch = pack.index_epoch
    response = api.patch(f"/api/knowledge-packs/{pack.pk}/embedding", {"model": "other"})
    assert response.status_code == 202, response.content
    assert response.json()["future"]["total"] == 3
    assert states(pack) == [("future", "other-model"), ("present", "all-MiniLM-L6-v2")]
    work(pack)
    after = api.get(f"/api/knowledge-packs/{pack.pk}/embedding").json()
    assert (after["model"], after["present"]["model"], after["present"]["dimension"], after["future"]) == (
        "other", "other-model", 8, None,
    )  # fmt: skip
    assert PassageVector.objects.filter(space=space(pack, "present")).count() == 3
    pack.refresh_from_db()
    assert pack.index_epoch == epoch + 1
    assert space_events(pack) == ["started", "progress", "changed"]


def test_what_is_written_meanwhile_is_in_the_new_space_too(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel, user: User
) -> None:
    solar, bread, _ = fill()
    services.choose_embedding(pack.pk, "other")
    filling = spaces.claim(pack.pk)
    assert filling
    assert spaces.fill_batch(filling)
    assert solar.entry
    assert bread.entry
    services.revise_entry(solar.entry.pk, user, {"content": "New words about the sun."})
    services.delete_entry(bread.entry.pk)
    fill([{"title": "Late", "content": "Came while the space was filled."}])
    while spaces.fill_batch(filling):
        pass
    assert set(PassageVector.objects.filter(space=space(pack, "present")).values_list("passage", flat=True)) == set(
        Passage.objects.values_list("pk", flat=True)
    )
    assert Passage.objects.count() == 3


def test_what_only_snapshots_show_moves_too_and_stays_hidden(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel
) -> None:
    fill()
    pinned = Passage.objects.order_by("pk").first()
    assert pinned
    PassageLexical.objects.filter(passage=pinned).update(live=False)
    PassageVector.objects.filter(passage=pinned).update(live=False)
    services.choose_embedding(pack.pk, "other")
    work(pack)
    vectors = PassageVector.objects.filter(space=space(pack, "present"))
    assert (
        dict(vectors.values_list("live").order_by("live").distinct().values_list("live", "passage"))[False] == pinned.pk
    )
    assert vectors.count() == 3


def test_entries_that_were_indexed_meanwhile_are_not_embedded_twice(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel, server: EmbeddingServer
) -> None:
    fill([SOLAR])
    services.choose_embedding(pack.pk, "other")
    fill([BREAD], index=False)
    work(pack)
    index_all(pack)
    assert len(server.texts) == 2
    assert not Entry.objects.exclude(index_status="ready").exists()


def test_vectors_of_the_old_model_that_come_after_the_flip_are_thrown_away(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel
) -> None:
    fill([SOLAR])
    fill([BREAD], index=False)
    old = embeddings.get_embedder()
    outcomes = indexing.embed(old, indexing.claim(pack.pk))
    services.choose_embedding(pack.pk, "other")
    work(pack)
    indexing.finish(pack.pk, indexing.Origin(old.model), outcomes)
    assert Entry.objects.get(external_id="bread").index_status == "pending"
    index_all(pack)
    assert Entry.objects.get(external_id="bread").index_status == "ready"
    assert not PassageVector.objects.exclude(space=space(pack, "present")).filter(space__state="present").exists()


def test_a_killed_worker_s_successor_goes_on_where_it_was(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "BATCH", 4)
    fill(many(10))
    services.choose_embedding(pack.pk, "other")
    dead = spaces.claim(pack.pk)
    assert dead
    assert spaces.fill_batch(dead)
    assert spaces.claim(pack.pk) is None  # leased
    assert spaces.packs_with_work(timezone.now()) == []
    EmbeddingSpace.objects.filter(state="future").update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert spaces.packs_with_work(timezone.now()) == [pack.pk]
    work(pack)
    assert len(server.texts) == 10
    assert space(pack, "present").model == "other-model"
    assert not spaces.fill_batch(dead)  # fenced off


def test_leases_are_renewed_during_a_long_batch(fill: Fill, pack: KnowledgePack, other: EmbeddingModel) -> None:
    fill([SOLAR])
    services.choose_embedding(pack.pk, "other")
    filling = spaces.claim(pack.pk)
    assert filling
    EmbeddingSpace.objects.filter(state="future").update(lease_expires_at=timezone.now())
    filling.renewed -= spaces.RENEW_S
    filling.beat()
    assert space(pack, "future").lease_expires_at > timezone.now()  # type: ignore[operator]  # just set


def test_a_failing_server_is_shown_and_asked_again_later(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel, server: EmbeddingServer
) -> None:
    fill()
    services.choose_embedding(pack.pk, "other")
    server.refuse = lambda _texts: 503
    work(pack)
    future = space(pack, "future")
    assert "503" in future.error
    assert future.available_at
    assert "sk-secret" not in future.error
    assert spaces.packs_with_work(timezone.now()) == []
    later = timezone.now() + timedelta(seconds=3)
    assert spaces.packs_with_work(later) == [pack.pk]
    assert space_events(pack) == ["started", "failed"]
    server.refuse = lambda _texts: 0
    EmbeddingSpace.objects.update(available_at=None)
    work(pack)
    assert space(pack, "present").model == "other-model"
    assert space(pack, "present").error == ""


def test_a_refused_text_holds_the_flip_up_but_not_its_neighbours(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel, server: EmbeddingServer, user: User
) -> None:
    _, bread, _ = fill()
    services.choose_embedding(pack.pk, "other")
    server.refuse = lambda texts: 400 if any("ferment" in text for text in texts) else 0
    work(pack)
    future = space(pack, "future")
    assert (future.done, future.total) == (2, 3)
    assert future.error == "“Notes › Sourdough bread”: the embedding server answered 400 (Bad Request)"
    assert bread.entry
    services.revise_entry(bread.entry.pk, user, {"content": "Harmless."})
    EmbeddingSpace.objects.update(available_at=None)
    work(pack)
    assert space(pack, "present").model == "other-model"


def test_what_the_old_model_refused_is_tried_with_the_new(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel
) -> None:
    fill()
    Entry.objects.filter(external_id="bread").update(index_status="pending")
    Entry.objects.filter(external_id="bread").update(index_status="indexing", lease_expires_at=timezone.now())
    Entry.objects.filter(external_id="bread").update(index_status="failed", lease_expires_at=None)
    services.choose_embedding(pack.pk, "other")
    work(pack)
    assert Entry.objects.get(external_id="bread").index_status == "pending"
    index_all(pack)
    assert PassageVector.objects.filter(space=space(pack, "present")).count() == 3


def test_another_choice_midway_replaces_the_future(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel, server: EmbeddingServer
) -> None:
    fill()
    services.create_embedding_model(name="third", base_url=server.url, model="third-model", dimension=8)
    services.choose_embedding(pack.pk, "other")
    stale = spaces.claim(pack.pk)
    assert stale
    services.choose_embedding(pack.pk, "third")
    assert not spaces.fill_batch(stale)
    assert states(pack) == [("future", "third-model"), ("past", "other-model"), ("present", "all-MiniLM-L6-v2")]
    services.choose_embedding(pack.pk, None)  # back to what it has
    assert [state for state, _ in states(pack)] == ["past", "past", "present"]


def test_a_migration_can_be_cancelled(fill: Fill, pack: KnowledgePack, other: EmbeddingModel, api: Api) -> None:
    fill()
    services.choose_embedding(pack.pk, "other")
    assert api.delete(f"/api/knowledge-packs/{pack.pk}/embedding/migration").status_code == 204
    pack.refresh_from_db()
    assert pack.embedding is None
    assert states(pack) == [("past", "other-model"), ("present", "all-MiniLM-L6-v2")]
    again = api.delete(f"/api/knowledge-packs/{pack.pk}/embedding/migration")
    assert (again.status_code, again.json()["code"]) == (409, "no_migration")


def test_an_empty_pack_just_takes_its_choice(pack: KnowledgePack, other: EmbeddingModel, fill: Fill) -> None:
    services.choose_embedding(pack.pk, "other")
    assert states(pack) == []
    fill()
    present = space(pack, "present")
    assert (present.embedding_id, present.model, present.dimension) == (other.pk, "other-model", 8)


def test_a_choice_during_the_very_first_batch_counts(pack: KnowledgePack, other: EmbeddingModel, fill: Fill) -> None:
    fill([SOLAR], index=False)
    old = embeddings.get_embedder()
    outcomes = indexing.embed(old, indexing.claim(pack.pk))
    services.choose_embedding(pack.pk, "other")
    indexing.finish(pack.pk, indexing.Origin(old.model), outcomes)
    assert states(pack) == []
    index_all(pack)
    assert states(pack) == [("present", "other-model")]


@pytest.mark.parametrize("body", [{}, {"model": 3}, {"model": "nothing"}, {"model": "other", "x": 1}, []])
def test_a_choice_of_nothing_known_is_refused(api: Api, pack: KnowledgePack, other: EmbeddingModel, body: Any) -> None:
    assert api.patch(f"/api/knowledge-packs/{pack.pk}/embedding", body).status_code == 400


def test_viewers_see_and_editors_choose(
    other_api: Api, other_user: User, pack: KnowledgePack, other: EmbeddingModel, user: User
) -> None:
    url = f"/api/knowledge-packs/{pack.pk}/embedding"
    assert other_api.get(url).status_code == 404
    share = PackShare.objects.create(pack=pack, user=other_user, role="viewer", created_by=user)
    assert other_api.get(url).status_code == 200
    assert other_api.patch(url, {"model": None}).status_code == 403
    assert other_api.delete(f"{url}/migration").status_code == 403
    PackShare.objects.filter(pk=share.pk).update(role="editor")
    assert other_api.patch(url, {"model": "other"}).status_code == 202


# --- Settings and cutting that change -------------------------------------------------------------------------------


def test_another_model_in_the_settings_moves_the_packs_that_follow_them(
    fill: Fill, pack: KnowledgePack, settings: Settings, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    settings.EMBEDDING_BASE_URL, settings.EMBEDDING_MODEL = server.url, "newer"
    sent: list[str] = []
    monkeypatch.setattr(nudge, "send_task", lambda name, args, queue, **_: sent.append(name))
    tasks.sweep()
    assert sent == ["knowledge.tasks.fill_space"]
    fill([{"title": "Late", "content": "text"}])  # still goes to the old space: the built-in model is at hand
    assert PassageVector.objects.filter(space=space(pack, "present")).count() == 4
    tasks.fill_space(str(pack.pk))
    assert states(pack) == [("past", "all-MiniLM-L6-v2"), ("present", "newer")]
    with pytest.raises(IllegalState):
        services.cancel_migration(pack.pk)


def test_searches_by_meaning_go_on_while_the_settings_want_another_model(
    fill: Fill, pack: KnowledgePack, settings: Settings, server: EmbeddingServer
) -> None:
    fill()
    before = search([pack], "renewable power generation", mode="semantic").hits
    settings.EMBEDDING_BASE_URL, settings.EMBEDDING_MODEL = server.url, "newer"
    claimed = spaces.claim(pack.pk)
    assert claimed
    fill([{"title": "Late", "content": "text"}])  # outdates what is cached
    during = search([pack], "renewable power generation", mode="semantic")
    assert [(hit.external_id, hit.semantic) for hit in during.hits if hit.title != "Late"] == [
        (hit.external_id, hit.semantic) for hit in before
    ]
    assert server.texts == ["dimension"]  # and the new model is not asked what it would be no use for
    assert search([pack], "renewable power generation").mode == "hybrid"
    spaces.release(claimed)
    tasks.fill_space(str(pack.pk))
    assert states(pack) == [("past", "all-MiniLM-L6-v2"), ("present", "newer")]
    assert search([pack], "renewable power generation", mode="semantic").hits
    assert server.texts[-1] == "renewable power generation"


def test_searches_are_lexical_while_the_settings_former_server_is_gone(
    fill: Fill, pack: KnowledgePack, settings: Settings, server: EmbeddingServer
) -> None:
    settings.EMBEDDING_BASE_URL, settings.EMBEDDING_MODEL = server.url, "older"
    fill()
    assert search([pack], "sourdough").mode == "hybrid"
    settings.EMBEDDING_MODEL = "newer"
    services.update_pack(pack.pk, {"name": "Renamed"})  # outdates what is cached
    result = search([pack], "sourdough")
    assert (result.mode, [hit.external_id for hit in result.hits]) == ("lexical", ["bread"])
    with pytest.raises(EmbeddingError, match="no longer older"):
        search([pack], "sourdough", mode="semantic")


def test_entries_wait_while_the_settings_former_server_is_gone(
    fill: Fill, pack: KnowledgePack, settings: Settings, server: EmbeddingServer
) -> None:
    settings.EMBEDDING_BASE_URL, settings.EMBEDDING_MODEL = server.url, "older"
    fill([SOLAR])
    settings.EMBEDDING_MODEL = "newer"
    fill([BREAD])
    assert Entry.objects.get(external_id="bread").index_status == "pending"
    tasks.fill_space(str(pack.pk))
    index_all(pack)
    assert Entry.objects.get(external_id="bread").index_status == "ready"
    assert PassageVector.objects.filter(space=space(pack, "present")).count() == 2


def test_a_model_that_changed_its_dimension_says_so_and_can_be_reembedded(
    fill: Fill, pack: KnowledgePack, settings: Settings, server: EmbeddingServer
) -> None:
    settings.EMBEDDING_BASE_URL, settings.EMBEDDING_MODEL = server.url, "growing"
    fill([SOLAR])
    server.width = 6
    fill([BREAD])
    failed = Entry.objects.get(external_id="bread")
    assert failed.index_status == "failed"
    assert failed.index_error == "growing gives 6 dimensions; the pack's vectors have 8 and must be made anew"
    embeddings._remote.cache_clear()  # a restart: the dimension was asked once
    services.reembed(pack.pk)
    work(pack)
    index_all(pack)
    assert space(pack, "present").dimension == 6
    assert not Entry.objects.exclude(index_status="ready").exists()


def test_a_new_way_of_cutting_swaps_passages_entry_by_entry(
    fill: Fill, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "\n\n".join(f"Paragraph {i}: " + "word " * 100 for i in range(8))
    fill([{"title": f"Long {i}", "content": long} for i in range(3)])
    before = Passage.objects.count()
    monkeypatch.setattr(spaces, "RECUT_ENTRIES", 2)
    monkeypatch.setattr(chunking, "CHUNKER_VERSION", 2)
    monkeypatch.setattr(chunking, "MAX_TOKENS", 120)
    assert spaces.packs_with_work(timezone.now()) == [pack.pk]
    work(pack)
    pack.refresh_from_db()
    assert set(Passage.objects.values_list("chunker_version", flat=True)) == {2}
    assert (
        Passage.objects.count() == PassageVector.objects.count() == PassageLexical.objects.count() == pack.passage_count
    )
    assert Passage.objects.count() > before
    assert space(pack, "present").chunker_version == 2
    assert spaces.packs_with_work(timezone.now()) == []


# --- The past -------------------------------------------------------------------------------------------------------


def hnsw(space_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [ann.index_name(space_id)])
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_the_past_is_dropped_with_its_index_after_the_grace(
    fill: Fill, pack: KnowledgePack, other: EmbeddingModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "DROP_BATCH", 2)
    fill()
    old = space(pack, "present")
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE INDEX {ann.index_name(old.pk)} ON knowledge_passagevector USING hnsw"
            f" ((embedding::halfvec(384)) halfvec_cosine_ops) WHERE space_id = {old.pk}"
        )
    settings.SPACE_GRACE_S = 60
    services.choose_embedding(pack.pk, "other")
    work(pack)
    tasks.drop_spaces()
    assert PassageVector.objects.filter(space=old).count() == 3
    settings.SPACE_GRACE_S = 0
    tasks.drop_spaces()
    assert states(pack) == [("present", "other-model")]
    assert PassageVector.objects.count() == 3
    assert not hnsw(old.pk)


# --- Searches meanwhile ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_searches_during_a_migration_never_mix_spaces(
    pack: KnowledgePack, fill: Fill, settings: Settings, server: EmbeddingServer, user: User
) -> None:
    """Every statement that reads vectors reads one space, and a hit's cosine is that of its vector in this space."""
    fill(many(60))
    first = space(pack, "present")
    services.create_embedding_model(name="other", base_url=server.url, model="other-model", dimension=8)
    server.delay = 0.02
    done = threading.Event()
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            services.choose_embedding(pack.pk, "other")
            for i in range(0, 60, 10):
                services.revise_entry(Entry.objects.get(external_id=f"e{i}").pk, user, {"content": f"revised {i}"})
            index_all(pack)
            work(pack)
        except BaseException as error:  # noqa: BLE001  # reported below
            errors.append(error)
        finally:
            done.set()
            connection.close()

    thread = threading.Thread(target=migrate)
    thread.start()
    searched, used = 0, set[str]()
    try:
        while not done.is_set() or searched < 5:
            with CaptureQueriesContext(connection) as captured:
                result = search([KnowledgePack.objects.get()], "heat through the wall", explain=True)
            assert result.hits
            used |= one_space([query["sql"] for query in captured.captured_queries])
            searched += 1
    finally:
        thread.join()
    assert errors == []
    assert space(pack, "present").pk != first.pk
    assert str(first.pk) in used


def one_space(statements: Sequence[str]) -> set[str]:
    """The ids of the spaces that a search has read: at most one."""
    reading = [sql for sql in statements if "knowledge_passagevector" in sql and "<=>" in sql]
    used = {part.split()[0].rstrip(")") for sql in reading for part in sql.split("space_id = ")[1:]}
    assert len(used) <= 1, used
    return used


# --- The console ----------------------------------------------------------------------------------------------------


def reembed(*arguments: str) -> str:
    out = StringIO()
    call_command("reembed", *arguments, stdout=out)
    return out.getvalue()


def test_reembed_moves_packs_and_waits(fill: Fill, pack: KnowledgePack, other: EmbeddingModel) -> None:
    fill()
    said = reembed("--all", "--model", "other", "--wait")
    assert "to other-model" in said
    assert said.rstrip().endswith("done")
    assert space(pack, "present").model == "other-model"


def test_reembed_makes_the_same_model_s_vectors_anew(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    old = space(pack, "present")
    reembed("--pack", str(pack.pk), "--wait")
    assert space(pack, "present").pk != old.pk
    assert space(pack, "past").pk == old.pk


@pytest.mark.parametrize(
    "arguments", [("--pack", "01890000-0000-7000-8000-000000000000"), ("--all", "--model", "nothing"), ("--all",)]
)
def test_reembed_says_what_is_wrong(db: None, arguments: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    if "--model" in arguments:
        request.getfixturevalue("pack")
    with pytest.raises(CommandError):
        reembed(*arguments)
