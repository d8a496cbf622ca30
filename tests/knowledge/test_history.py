"""Each rule of the pack checker, broken by one forged event or row of a pack that is sound otherwise: the checker names that rule."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction

from accounts.models import User
from knowledge import history, services
from knowledge.history import Event, Rows, check, rows_of, told_of
from knowledge.imports import job as imports_job
from knowledge.models import Entry, KnowledgePack
from tests.conftest import Api
from tests.knowledge.conftest import Fill, index_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.forges]

Json = dict[str, Any]


@pytest.fixture
def lived(
    api: Api, user: User, pack: KnowledgePack, fill: Fill, settings: LazySettings, tmp_path: Path
) -> KnowledgePack:
    """A pack to which something of everything has happened: solar was moved away, bread is in the trash, a poem was imported."""
    settings.DATA_DIR = tmp_path
    fill()
    solar, bread, cafe = Entry.objects.filter(pack=pack).order_by("ordinal").values_list("pk", flat=True)
    other = services.create_pack(user, name="Other")
    services.bulk_entries(pack, user, "move", [solar], to=other)
    services.delete_entry(bread)
    services.restore_entry(bread)
    services.delete_entry(bread)
    services.revise_entry(cafe, user, {"content": "It has closed."}, "")
    poem = SimpleUploadedFile("poem.md", b"# A poem\n\nRoses are red.")
    answer = api.client.post(f"/api/knowledge-packs/{pack.pk}/imports", {"file": poem})
    imports_job.run(answer.json()["id"])
    index_all(pack)
    pack.refresh_from_db()
    return pack


def rules(pack: KnowledgePack) -> list[str]:
    return sorted({fault.rule for fault in history.faults(pack.pk)})


def test_packs_are_sound_whatever_happened_to_them(user: User, lived: KnowledgePack) -> None:
    fork = services.fork(lived.pk, user, "Copy")
    services.delete_entry(Entry.objects.filter(pack=fork).latest("ordinal").pk)
    services.delete_pack(lived.pk)
    services.restore_pack(lived.pk)
    found = {pack.name: rules(pack) for pack in KnowledgePack.objects.all()}
    assert found == {"Notes": [], "Other": [], "Copy": []}
    assert {event.type for event in told_of(lived.pk)} >= {
        "entry.moved",
        "entry.restored",
        "import.completed",
        "pack.restored",
    }


# --- the log ------------------------------------------------------------------------------------------------------------


class Story:
    """A pack's log, to be told differently: by kind and number of occurrence."""

    def __init__(self, rows: Rows, events: Sequence[Event]) -> None:
        self.rows = Rows(dict(rows.pack), dict(rows.live), rows.trash, dict(rows.imports))
        self.events = [(event.type, copy.deepcopy(event.data)) for event in events]

    def at(self, kind: str, nth: int = 0) -> int:
        return [index for index, (name, _) in enumerate(self.events) if name == kind][nth]

    def data(self, kind: str, nth: int = 0) -> Json:
        return self.events[self.at(kind, nth)][1]

    def faults(self) -> set[str]:
        numbered = [Event(seq, kind, data) for seq, (kind, data) in enumerate(self.events, 1)]
        whole = self.rows._replace(pack={**self.rows.pack, "last_seq": len(numbered)})
        return {fault.rule for fault in check(whole, numbered)}


def _twice(kind: str, nth: int = 0) -> Callable[[Story], None]:
    return lambda story: story.events.insert(story.at(kind, nth) + 1, copy.deepcopy(story.events[story.at(kind, nth)]))


def _missing(kind: str, nth: int = 0) -> Callable[[Story], None]:
    return lambda story: story.events.pop(story.at(kind, nth)) and None


def _says(kind: str, part: str, nth: int = 0, **other: object) -> Callable[[Story], None]:
    return lambda story: story.data(kind, nth)[part].update(other)


def _purged_alive(story: Story) -> None:
    told = copy.deepcopy(story.data("entry.revised"))
    story.events.append(("entry.purged", {"entries": [told["entry"]["id"]], "pack": {}}))


def _back_from_nowhere(story: Story) -> None:
    moved = story.data("entry.moved")["entry"]["id"]
    story.events.append(("entry.restored", {"entry": {"id": moved}, "pack": {}}))


def _from_draft_to_archive(story: Story) -> None:
    for kind, data in story.events:
        if kind != "pack.created" and isinstance(data.get("pack"), dict):
            data["pack"]["status"] = "archived"
    story.rows.pack["status"] = "archived"  # type: ignore[index]  # a dict of ours


TOLD: Sequence[tuple[Callable[[Story], None], set[str]]] = (
    (_missing("pack.created"), {"pack"}),
    (_twice("pack.created"), {"pack"}),
    (_from_draft_to_archive, {"pack"}),
    (_says("pack.created", "pack", entry_count=1), {"counts"}),
    (_twice("entry.created"), {"entry"}),
    (_missing("entry.created", 2), {"counts"}),
    (_missing("entry.deleted"), {"entry"}),
    (_missing("entry.deleted", 1), {"entry"}),
    (_missing("entry.restored"), {"entry"}),
    (_missing("entry.moved"), {"entry"}),
    (_twice("entry.moved"), {"entry"}),
    (_purged_alive, {"entry"}),
    (_back_from_nowhere, {"entry"}),
    (_missing("entry.indexing"), {"index"}),
    (_says("entry.indexed", "entry", -1, status="failed"), {"index"}),
    (_missing("import.created"), set()),  # its next event tells the same
    (_missing("import.completed"), {"import"}),
    (_says("import.created", "import", status="completed"), {"import"}),
    (_says("import.created", "import", status="writing"), {"import"}),
)


def test_every_rule_of_the_log_is_broken_alone(lived: KnowledgePack) -> None:
    rows, events = rows_of(lived.pk), list(told_of(lived.pk))
    assert Story(rows, events).faults() == set()
    wrong = []
    for number, (alter, expected) in enumerate(TOLD):
        story = Story(rows, events)
        alter(story)
        if story.faults() != expected:
            wrong.append(f"{number}: {story.faults()} instead of {expected}")
    assert not wrong, "\n".join(wrong)
    shifted = [event._replace(seq=event.seq + (event.seq > 3)) for event in events]
    later = rows._replace(pack={**rows.pack, "last_seq": len(events) + 1})
    assert [fault.rule for fault in check(later, shifted)] == ["seq"]


# --- the rows: what somebody with a database console would do -----------------------------------------------------------

ROWS = (
    ({"seq"}, "UPDATE knowledge_knowledgepack SET last_seq = last_seq + 1 WHERE id = %(pack)s"),
    ({"pack"}, "UPDATE knowledge_knowledgepack SET version = version + 1 WHERE id = %(pack)s"),
    ({"counts", "pack"}, "UPDATE knowledge_knowledgepack SET entry_count = entry_count + 1 WHERE id = %(pack)s"),
    ({"entry", "counts"}, "UPDATE knowledge_entry SET deleted_at = now() WHERE id = %(cafe)s"),
    ({"entry", "counts"}, "UPDATE knowledge_entry SET deleted_at = NULL WHERE id = %(bread)s"),
    ({"index"}, "UPDATE knowledge_entry SET index_status = 'pending' WHERE id = %(cafe)s"),
    ({"import"}, "UPDATE knowledge_import SET status = 'failed' WHERE pack_id = %(pack)s"),
)


def forged(pack: KnowledgePack, statement: str) -> set[str]:
    """The rules that are broken once this was done to a row, which is undone again."""
    bread, cafe = (Entry.objects.get(pack=pack, external_id=name).pk for name in ("bread", "cafe"))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # triggers would refuse some of it
        cursor.execute(statement, {"pack": pack.pk, "bread": bread, "cafe": cafe})
        assert cursor.rowcount == 1
        found = rules(pack)
        transaction.set_rollback(True)
    return set(found)


def test_every_forged_row_is_named_by_its_rule(lived: KnowledgePack) -> None:
    assert rules(lived) == []
    for expected, statement in ROWS:
        assert forged(lived, statement) == expected, statement
