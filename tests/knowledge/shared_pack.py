"""A pack with something of everything in it, and everybody who may stand before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts.models import User
from accounts.services import create_api_key
from knowledge import services
from knowledge.models import Entry, Import, KnowledgePack
from knowledge.services import imports
from tests.knowledge.conftest import ITEMS, index_all

WHO = ("owner", "editor", "viewer", "stranger", "staff", "anonymous")
RANK = {"viewer": 1, "editor": 2, "owner": 3}
Ids = Mapping[str, Any]


@dataclass(frozen=True)
class World:
    pack: KnowledgePack
    ids: Ids
    people: Mapping[str, User]  # everybody but the anonymous one
    keys: Mapping[str, str | None]


def build() -> World:
    people = {
        who: User.objects.create_user(
            f"{who}@example.org", "correct horse battery", is_staff=who == "staff", is_superuser=who == "staff"
        )
        for who in WHO[:-1]
    }
    pack = services.create_pack(people["owner"], name="Shared")
    shares = [services.share(pack.pk, None, people[role].email, role)[0] for role in ("editor", "viewer")]
    ids = {"pk": pack.pk, "share": shares[0].pk, **fill(pack)}
    keys: dict[str, str | None] = {who: create_api_key(person, "matrix")[1] for who, person in people.items()}
    return World(pack, ids, people, {**keys, "anonymous": None})


def fill(pack: KnowledgePack) -> dict[str, Any]:
    """Something of everything that a pack has; the ids are those that the paths name."""
    services.add_entries(pack, pack.owner, ITEMS)
    index_all(pack)
    entry = Entry.objects.filter(pack=pack).earliest("ordinal").pk
    return {
        "snapshot": services.publish(pack.pk, None, "v1").pk,
        "entry": entry,
        "n": 1,
        "question": services.add_golden_question(pack.pk, pack.owner, question="What?", expected=[entry]).pk,
        "evaluation": services.evaluate(pack, None, "lexical").pk,
        "import_id": planned_import(pack).pk,
    }


@transaction.atomic
def planned_import(pack: KnowledgePack) -> Import:
    """A dry run that waits, and its event."""
    job = Import.objects.create(pack=pack, status="planned", dry_run=True, filename="notes.md")
    imports.record(services.locked_pack(pack.pk), job, "import.planned")
    return job


def others_addresses(who: str, content: bytes) -> list[str]:
    """The e-mail addresses in an answer that are not its reader's own: nobody but the owner of a pack is shown any."""
    return [one for one in WHO if one not in (who, "anonymous") and f"{one}@example.org".encode() in content]
