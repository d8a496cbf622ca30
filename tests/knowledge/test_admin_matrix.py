"""Who may do what in the admin: every page and every action that its registry has for knowledge, for everybody there is.

A page without a row in ``PAGES``, a model without one in ``MODELS`` and an action without one in ``ACTIONS`` fail, and say what to
add. Whoever is not staff is sent to sign in. Staff need the permission that the row names and no other; with every other permission
of the app they are refused. Whatever is refused, and whatever is only looked at, writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import LazySettings
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import User
from knowledge import indexing, services
from knowledge.models import EmbeddingModel, EmbeddingSpace, Entry, EntryRevision, SearchLog
from knowledge.services import bulk_jobs
from tests.knowledge.shared_pack import WHO, Ids, World, build
from tests.support.access import Route, routes, writes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_job_left")]

OUTSIDERS = [who for who in WHO if who != "staff"]
Form = Callable[[Ids], Mapping[str, Any]]
HERE = "tests/knowledge/test_admin_matrix.py"


@dataclass(frozen=True)
class Act:
    """A form and the permission of the knowledge app that posting it needs. ``before`` makes it have something to do. One that
    writes is answered with a redirect; ``writes`` is False for the rest, such as downloads. ``closed``: whether it is refused, or
    does nothing, when the pack is in the trash."""

    needs: str
    form: Form = lambda _: {}
    before: Callable[[Ids], object] = lambda _: None
    writes: bool = True
    closed: bool = True


@dataclass(frozen=True)
class Page:
    """``look``: the permission that opening the page needs, "" where nobody may, not even superusers. ``names``: which of the world's
    ids stands in the path; one for each parameter where there are several. ``act``: what its only form does; ``steps``: what each of
    its forms does, by the ``do`` that they post."""

    look: str
    names: str | Mapping[str, str] = ""
    act: Act | None = None
    steps: Mapping[str, Act] = field(default_factory=dict)
    query: str = ""

    def acts(self, ids: Ids) -> Iterator[tuple[Act, dict[str, Any]]]:
        """Everything that can be posted to it, with the form."""
        if self.act:
            yield self.act, dict(self.act.form(ids))
        for name, step in self.steps.items():
            yield step, {"do": name, **step.form(ids)}


@dataclass(frozen=True)
class Model:
    """``names``: one of the world's ids. What may be added and changed has the form that does so; ``deleted``: by its page."""

    names: str
    add: Form | None = None
    change: Form | None = None
    deleted: bool = False
    of_pack: bool = True

    def pages(self, name: str) -> dict[str, Page]:
        fresh = self.of_pack and name != "knowledgepack"
        add = Act(f"add_{name}", self.add, closed=fresh) if self.add else None
        change = Act(f"change_{name}", self.change, closed=self.of_pack) if self.change else None
        delete = Act(f"delete_{name}", lambda _: {"post": "yes"}, closed=self.of_pack) if self.deleted else None
        rows = {
            "changelist": Page(f"view_{name}"),
            "add": Page(f"add_{name}" if add else "", act=add),
            "change": Page(f"view_{name}", self.names, change),
            "history": Page(f"view_{name}", self.names),
            "delete": Page(f"delete_{name}" if delete else "", self.names, delete),
        }
        return {f"admin:knowledge_{name}_{page}": row for page, row in rows.items()}


@dataclass(frozen=True)
class Action(Act):
    """``form``: what it asks for beside the rows. ``query``: of the list that offers it."""

    query: str = ""


PACK_FORM: dict[str, Any] = {
    "name": "Renamed", "description": "", "visibility": "private", "status": "active", "tags": "a", "language": "english",
}  # fmt: skip
ENTRY_FORM: dict[str, Any] = {
    "title": "New", "content": "New words.", "tags": "x", "metadata": "{}", "note": "", "enabled": "on",
}  # fmt: skip
MODEL_FORM: dict[str, Any] = {
    "name": "other", "provider": "openai", "base_url": "https://example.org/v1", "model": "m", "dimension": 8, "batch_size": 8,
    "batch_chars": 2000, "enabled": "on",
}  # fmt: skip

# Staff look after packs of other people, so the forms take any owner and any pack.
MODELS: dict[str, Model] = {
    "knowledgepack": Model("pk", lambda ids: {**PACK_FORM, "owner": ids["owner"]}, lambda _: PACK_FORM, deleted=True),
    "entry": Model("entry", lambda ids: {**ENTRY_FORM, "pack": ids["pk"]}, lambda _: ENTRY_FORM, deleted=True),
    "goldenquestion": Model(
        "question",
        lambda ids: {"pack": ids["pk"], "question": "Else?", "expected": [ids["entry"]]},
        lambda ids: {"question": "Which?", "expected": [ids["entry"]]},
        deleted=True,
    ),
    "embeddingmodel": Model(
        "model", lambda _: {**MODEL_FORM, "name": "new"}, lambda _: MODEL_FORM, deleted=True, of_pack=False
    ),
    "entryrevision": Model("revision"),
    "evaluation": Model("evaluation"),
    "import": Model("import_id", lambda ids: {"pack": ids["pk"], "uploads": _file("a.md"), "on_duplicate": "skip"}),
    "snapshot": Model("snapshot", lambda ids: {"pack": ids["pk"], "label": "v2"}, deleted=True),
    "searchlog": Model("search"),
    "embeddingspace": Model("space"),
}
PAGES: dict[str, Page] = {
    **dict(chain.from_iterable(row.pages(name).items() for name, row in MODELS.items())),
    "admin:knowledge_entry_revisions": Page("view_entry", "entry"),
    "admin:knowledge_entry_revert": Page(
        "", {"pk": "entry", "number": "n"}, Act("change_entry", before=lambda ids: _revised(ids["entry"]))
    ),
    "admin:knowledge_entry_bulk": Page("view_entry", {"job": "job"}),
    "admin:knowledge_entry_bulk_stop": Page("", {"job": "job"}, Act("change_entry", writes=False, closed=False)),
    "admin:knowledge_import_commit": Page("", "import_id", Act("change_import")),
    "admin:knowledge_import_cancel": Page("", "import_id", Act("change_import", closed=False)),
    "admin:knowledge_knowledgepack_dashboard": Page("view_knowledgepack", "pk"),
    "admin:knowledge_knowledgepack_questions": Page(
        "view_goldenquestion",
        "pk",
        steps={
            "evaluate": Act("change_knowledgepack", lambda _: {"mode": "lexical"}),
            "import_questions": Act("add_goldenquestion", lambda ids: {"file": _questions(ids["entry"])}),
            "export_questions": Act("view_goldenquestion", writes=False),
        },
    ),
    "admin:knowledge_knowledgepack_hits": Page("view_entry", "pk", query="?q=bread"),
    "admin:knowledge_knowledgepack_searches": Page("view_searchlog", "pk"),
    "admin:knowledge_knowledgepack_review": Page(
        "view_entry", "pk", steps={"mark_reviewed": Act("change_entry", lambda ids: {"entry": ids["entry"]})}
    ),
    "admin:knowledge_knowledgepack_sharing": Page(
        "view_packshare",
        "pk",
        steps={
            "share": Act("add_packshare", lambda _: {"email": "stranger@example.org", "role": "viewer"}),
            "change_role": Act("change_packshare", lambda ids: {"share": ids["share"], "role": "viewer"}),
            "unshare": Act("delete_packshare", lambda ids: {"share": ids["share"]}),
            "transfer": Act("change_knowledgepack", lambda _: {"email": "stranger@example.org"}),
        },
    ),
    "admin:knowledge_knowledgepack_embedding": Page(
        "view_knowledgepack",
        "pk",
        steps={
            "choose": Act("change_knowledgepack", lambda _: {"model": "other"}),
            "reembed": Act("change_knowledgepack"),
            "cancel_migration": Act("change_knowledgepack", before=lambda ids: services.reembed(ids["pk"])),
        },
    ),
    "admin:knowledge_knowledgepack_manage": Page(
        "view_knowledgepack",
        "pk",
        steps={
            "export": Act("view_entry", lambda _: {"format": "jsonl"}, writes=False),
            "fork": Act("add_knowledgepack", lambda _: {"name": "Copy"}),
            "archive": Act("change_knowledgepack"),
            "activate": Act("change_knowledgepack", before=lambda ids: _archived(ids["pk"])),
            "trash": Act("delete_knowledgepack"),
            "restore": Act("delete_knowledgepack", before=lambda ids: services.delete_pack(ids["pk"]), closed=False),
        },
    ),
}
CONFIRMED: Form = lambda _: {"post": "yes"}  # noqa: E731  # as the other forms stand here
ACTIONS: dict[tuple[str, str], Action] = {
    ("knowledgepack", "delete_selected"): Action("delete_knowledgepack", CONFIRMED),
    ("knowledgepack", "archive"): Action("change_knowledgepack"),
    ("knowledgepack", "activate"): Action("change_knowledgepack", before=lambda ids: _archived(ids["pk"])),
    ("knowledgepack", "restore"): Action(
        "delete_knowledgepack",
        before=lambda ids: services.delete_pack(ids["pk"]),
        query="?status=deleted",
        closed=False,
    ),
    ("entry", "delete_selected"): Action("delete_entry", CONFIRMED),
    ("entry", "restore_selected"): Action(
        "delete_entry", before=lambda ids: services.delete_entry(ids["entry"]), query="?trash=1"
    ),
    ("entry", "move"): Action("change_entry", lambda ids: {"apply": "1", "to": ids["other"]}),
    ("goldenquestion", "delete_selected"): Action("delete_goldenquestion", CONFIRMED),
    ("snapshot", "delete_selected"): Action("delete_snapshot", CONFIRMED),
    ("embeddingmodel", "delete_selected"): Action("delete_embeddingmodel", CONFIRMED, closed=False),
    ("entry", "retry_indexing"): Action("change_entry", before=lambda ids: _failed(ids["entry"])),
    ("entry", "enable"): Action("change_entry", before=lambda ids: Entry.objects.update(enabled=False)),
    ("entry", "disable"): Action("change_entry"),
    ("entry", "tag"): Action("change_entry", lambda _: {"apply": "1", "add": "new", "remove": ""}),
    ("entry", "mark_reviewed"): Action("change_entry"),
}


def _file(name: str, text: str = "# New\n\nWords.") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode())


def _questions(entry: Any) -> SimpleUploadedFile:
    return _file("questions.csv", f"question,expected\nElse?,{entry}\n")


def _archived(pack: Any) -> None:
    services.update_pack(pack, {"status": "archived"})


def _revised(entry: Any) -> None:
    services.revise_entry(entry, None, {"content": "Other words."})


def _failed(entry: Any) -> None:
    _revised(entry)
    indexing.claim(Entry.objects.get(pk=entry).pack_id)
    Entry.objects.filter(pk=entry).update(index_status="failed", lease_expires_at=None, index_error="broken")


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """Each of a thousand refusals would be written with a traceback."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# --- Who stands before it ---------------------------------------------------------------------------------------------


@pytest.fixture
def world(db: None, settings: LazySettings, tmp_path: Path) -> World:
    settings.DATA_DIR = tmp_path  # of uploads
    made = build()
    model = EmbeddingModel.objects.create(**{**MODEL_FORM, "enabled": True})
    search = SearchLog.objects.create(
        pack=made.pack, user=made.people["viewer"], query="q", mode="hybrid", hits=0, took_ms=1
    )
    order = bulk_jobs.Order("Disable", (("disable", ()),), "knowledge.change_entry")
    rows = {
        "owner": made.people["owner"].pk,
        "other": services.create_pack(made.people["owner"], name="Other").pk,
        "job": bulk_jobs.start(order, made.people["staff"], [made.ids["entry"]]),
        "model": model.pk,
        "search": search.pk,
        "revision": EntryRevision.objects.get(entry=made.ids["entry"]).pk,
        "space": EmbeddingSpace.objects.get(pack=made.pack).pk,
    }
    return World(made.pack, {**made.ids, **rows}, made.people, made.keys)


@cache
def permissions() -> frozenset[str]:
    """Every permission of the knowledge app."""
    return frozenset(Permission.objects.filter(content_type__app_label="knowledge").values_list("codename", flat=True))


class Staff:
    """Clients of staff who have just these permissions."""

    def __init__(self) -> None:
        self.people: dict[frozenset[str], User] = {}
        self.clients: dict[frozenset[str], Client] = {}

    def user(self, wanted: frozenset[str]) -> User:
        if wanted not in self.people:
            assert wanted <= permissions(), f"there is no permission {sorted(wanted - permissions())}"
            user = User.objects.create_user(f"clerk{len(self.people)}@example.org", "a long password", is_staff=True)
            user.user_permissions.set(
                Permission.objects.filter(content_type__app_label="knowledge", codename__in=wanted)
            )
            self.people[wanted] = user
        return self.people[wanted]

    def having(self, *wanted: str) -> Client:
        key = frozenset(wanted)
        if key not in self.clients:
            self.clients[key] = signed_in(self.user(key))
        return self.clients[key]

    def lacking(self, *missing: str) -> Client:
        """All others; Django takes the permission to change for one to look, so it goes too."""
        looks = {one.replace("view_", "change_", 1) for one in missing if one.startswith("view_")}
        return self.having(*(permissions() - set(missing) - looks))


@pytest.fixture
def staff(db: None) -> Staff:
    return Staff()


def signed_in(user: User | None) -> Client:
    client = Client(raise_request_exception=False)  # a crash is a fault like others
    if user is not None:
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def outsiders(world: World) -> dict[str, Client]:
    return {who: signed_in(world.people.get(who)) for who in OUTSIDERS}


@pytest.fixture
def root(world: World) -> Client:
    return signed_in(world.people["staff"])


@contextmanager
def taken_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def ask(client: Client, method: str, path: str, form: Mapping[str, Any] | None = None) -> tuple[Any, set[str]]:
    """The answer and the tables that were written to; both are taken back."""
    with taken_back(), writes() as written:
        response = client.generic(method, path) if form is None else client.post(path, form)
    return response, written


class Faults:
    """Collects what is not as the table says, so that one run shows all of it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def refused(self, what: str, answer: tuple[Any, set[str]]) -> None:
        response, written = answer
        if response.status_code not in (403, 404, 405) or written:
            self.found.append(f"{what}: {response.status_code}, wrote {sorted(written)}; this was to be refused")

    def sent_to_sign_in(self, what: str, path: str, answer: tuple[Any, set[str]]) -> None:
        response, written = answer
        wanted = f"{reverse('admin:login')}?next={quote(path, safe='/')}"
        if response.status_code != 302 or response["Location"] != wanted or written:
            self.found.append(
                f"{what}: {response.status_code}, wrote {sorted(written)}; this was to be sent to sign in"
            )

    def shown(self, what: str, answer: tuple[Any, set[str]]) -> None:
        response, written = answer
        if response.status_code != 200 or written:
            self.found.append(f"{what}: {response.status_code}, wrote {sorted(written)}; this was to be shown")

    def wrote(self, what: str, answer: tuple[Any, set[str]]) -> None:
        response, written = answer
        if response.status_code != 302 or not any(table.startswith("knowledge_") for table in written):
            self.found.append(f"{what}: {response.status_code}, wrote {sorted(written)}; this was to write and lead on")

    def given(self, what: str, answer: tuple[Any, set[str]]) -> None:
        response, written = answer
        if response.status_code not in (200, 302) or written - {"django_admin_log", "accounts_auditentry"}:
            self.found.append(f"{what}: {response.status_code}, wrote {sorted(written)}; this was to be given")

    def idle(self, what: str, answer: tuple[Any, set[str]]) -> None:
        response, written = answer
        if response.status_code >= 500 or written:
            self.found.append(f"{what}: {response.status_code}, wrote {sorted(written)}; this was to change nothing")


@pytest.fixture
def faults() -> Iterator[Faults]:
    collected = Faults()
    yield collected
    assert not collected.found, "\n" + "\n".join(collected.found)


def address(name: str, ids: Ids) -> str:
    names = PAGES[name].names
    if isinstance(names, str):
        return reverse(name, args=[ids[names]] if names else [])
    return reverse(name, kwargs={key: ids[value] for key, value in names.items()})


def knowledge_pages() -> dict[str, Any]:
    """The admin classes by the names of their models."""
    registry = admin.site._registry.items()
    return {str(model._meta.model_name): page for model, page in registry if model._meta.app_label == "knowledge"}


def knowledge_routes() -> list[Route]:
    return [route for route in routes() if route.path.startswith("admin/knowledge/")]


# --- Nothing is forgotten ---------------------------------------------------------------------------------------------


def test_every_page_has_a_row() -> None:
    models = {model._meta.model_name for model in admin.site._registry if model._meta.app_label == "knowledge"}
    assert models == set(MODELS), (
        f"MODELS in {HERE} and the models registered in the admin differ: {models ^ set(MODELS)}"
    )
    named = {route.name: route.path for route in knowledge_routes() if route.name}
    missing = "\n".join(
        f'  "{name}": Page(look="view_…", names="…", act=Act("permission", form) or steps=…),   # /{named[name]}'
        for name in named.keys() - PAGES.keys()
    )
    assert not missing, (
        f"Pages of the admin that nobody has said of who may use them. Add to PAGES in {HERE}:\n{missing}"
    )
    assert not PAGES.keys() - named.keys(), f"rows without a page: {sorted(PAGES.keys() - named.keys())}"
    unnamed = {route.path for route in knowledge_routes() if not route.name}
    assert unnamed == {f"admin/knowledge/{name}/<path:object_id>/" for name in MODELS}, "a page without a name"


def test_every_form_of_a_page_has_a_row() -> None:
    for page in knowledge_pages()["knowledgepack"].pages:
        row = PAGES[f"admin:knowledge_knowledgepack_{page.name}"]
        assert set(row.steps) == set(page.steps), f"PAGES in {HERE} and the steps of {page.name} differ"


def test_every_action_has_a_row(world: World) -> None:
    request = RequestFactory().get("/")
    request.user = world.people["staff"]
    known: set[tuple[str, str]] = set()
    for name, page in knowledge_pages().items():
        buttons = [getattr(one, "__name__", str(one)) for one in [*(page.actions or ()), *page.actions_submit_line]]
        known |= {(name, action) for action in [*page.get_actions(request), *buttons]}
    missing = "\n".join(
        f'  ("{model}", "{name}"): Action("the permission it needs", extra form fields, before=…),'
        for model, name in sorted(known - ACTIONS.keys())
    )
    assert not missing, f"Actions that nobody has said of who may take them. Add to ACTIONS in {HERE}:\n{missing}"
    assert not ACTIONS.keys() - known, f"rows without an action: {sorted(ACTIONS.keys() - known)}"


def test_nothing_is_written_beside_pages_and_actions() -> None:
    """Rows that a page of another model, or a list, lets people edit would need a permission that no row here asks for."""
    for name, page in knowledge_pages().items():
        assert not page.inlines, f"{name}: say in {HERE} who may edit the rows of {page.inlines}, and test it"
        assert not page.list_editable, (
            f"{name}: say in {HERE} who may edit {page.list_editable} in the list, and test it"
        )


# --- Pages ------------------------------------------------------------------------------------------------------------


def test_only_staff_come_in(world: World, outsiders: dict[str, Client], faults: Faults) -> None:
    for name, row in PAGES.items():
        path = address(name, world.ids)
        for who, client in outsiders.items():
            faults.sent_to_sign_in(f"GET {path} by {who}", path, ask(client, "GET", path))
            for _, form in row.acts(world.ids):
                faults.sent_to_sign_in(f"POST {path} by {who}", path, ask(client, "POST", path, form))


def test_staff_look_with_the_permission_to_look(world: World, staff: Staff, root: Client, faults: Faults) -> None:
    looking = [one for one in permissions() if one.startswith("view_")]
    for name, row in PAGES.items():
        path = address(name, world.ids) + row.query
        faults.refused(f"GET {path} with no permission", ask(staff.having(), "GET", path))
        if not row.look:
            faults.refused(f"GET {path} by a superuser", ask(root, "GET", path))
            continue
        faults.refused(f"GET {path} without {row.look}", ask(staff.lacking(row.look), "GET", path))
        if row.look.startswith("view_"):
            faults.shown(f"GET {path} with permissions to look", ask(staff.having(*looking), "GET", path))
        else:
            faults.refused(f"GET {path} with permissions to look", ask(staff.having(*looking), "GET", path))
            faults.shown(f"GET {path} with {row.look}", ask(staff.having(row.look, *looking), "GET", path))


def test_staff_act_with_the_permission_to_act(world: World, staff: Staff, root: Client, faults: Faults) -> None:
    looking = [one for one in permissions() if one.startswith("view_")]
    nobody, lookers = staff.having(), staff.having(*looking)
    for name, row in PAGES.items():
        path, acts = address(name, world.ids), list(row.acts(world.ids))
        if not acts:
            faults.idle(f"POST {path} by a superuser", ask(root, "POST", path))
        for act, _ in acts:
            others, allowed = staff.lacking(act.needs), staff.having(act.needs, *looking)
            with taken_back():
                act.before(world.ids)
                for who, client in {
                    "no permission": nobody,
                    "permissions to look": lookers,
                    "all others": others,
                }.items():
                    if client is lookers and act.needs in looking:
                        continue
                    faults.refused(
                        f"POST {path} {act.needs} by {who}", ask(client, "POST", path, again(row, act, world))
                    )
                answer = ask(allowed, "POST", path, again(row, act, world))
                (faults.wrote if act.writes else faults.given)(f"POST {path} with {act.needs}", answer)
                faults.idle(f"PUT {path} by a superuser", ask(root, "PUT", path))


def again(row: Page, act: Act, world: World) -> dict[str, Any]:
    """The form anew: a file can be sent once."""
    return next(form for one, form in row.acts(world.ids) if one is act)


def test_forms_need_the_token(world: World, faults: Faults) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.people["staff"], backend="django.contrib.auth.backends.ModelBackend")
    for name, row in PAGES.items():
        path = address(name, world.ids)
        for _, form in row.acts(world.ids):
            faults.refused(f"POST {path} without the token", ask(client, "POST", path, form))


@pytest.mark.parametrize(
    "seen", [("view_knowledgepack",), ("view_knowledgepack", "view_entry"), ("view_knowledgepack", "view_searchlog")]
)
def test_every_tab_that_is_shown_opens(world: World, staff: Staff, seen: tuple[str, ...]) -> None:
    client = staff.having(*seen)
    dashboard = client.get(address("admin:knowledge_knowledgepack_dashboard", world.ids))
    links = {tab["name"]: tab["link"] for tab in dashboard.context["pack_tabs"]}
    assert len(links) >= 4
    assert {name: client.get(link).status_code for name, link in links.items()} == dict.fromkeys(links, 200)


def test_whoever_may_only_look_reads_what_an_entry_says(world: World, staff: Staff) -> None:
    services.revise_entry(world.ids["entry"], None, {"content": "Read <b>this</b>.\nAnd that."})
    page = staff.having("view_entry").get(address("admin:knowledge_entry_change", world.ids)).content
    assert b"Read &lt;b&gt;this&lt;/b&gt;.<br>And that." in page
    assert b'name="_save"' not in page


# --- Actions ----------------------------------------------------------------------------------------------------------


def posted(world: World, model: str, action: str) -> tuple[str, dict[str, Any]]:
    row = ACTIONS[model, action]
    path = reverse(f"admin:knowledge_{model}_changelist") + row.query
    chosen = {"action": action, "_selected_action": [str(world.ids[MODELS[model].names])]}
    return path, {**chosen, **row.form(world.ids)}


def offered(user: User, model: str, query: str) -> set[str]:
    """The actions in the list's menu."""
    request = RequestFactory().get(f"/{query}")
    request.user = user
    return {name for name, _ in knowledge_pages()[model].get_action_choices(request)}


def test_actions_need_their_permission(
    world: World, staff: Staff, outsiders: dict[str, Client], faults: Faults
) -> None:
    nobody = staff.having()
    for (model, name), row in ACTIONS.items():
        path, form = posted(world, model, name)
        look = f"view_{model}"
        allowed, others = frozenset((look, row.needs)), permissions() - {row.needs}
        assert name in offered(staff.user(allowed), model, row.query), f"{model}: {name}"
        hidden = name not in offered(staff.user(others), model, row.query)
        assert hidden, f"{model}: {name} is offered without {row.needs}"
        clients = {"permissions": staff.having(*allowed), "others": staff.having(*others), "look": staff.having(look)}
        with taken_back():  # signing in within it would be taken back, too
            row.before(world.ids)
            for who, client in outsiders.items():
                faults.sent_to_sign_in(f"{model}: {name} by {who}", path, ask(client, "POST", path, form))
            faults.refused(f"{model}: {name} with no permission", ask(nobody, "POST", path, form))
            faults.idle(f"{model}: {name} with {look} alone", ask(clients["look"], "POST", path, form))
            faults.idle(f"{model}: {name} without {row.needs}", ask(clients["others"], "POST", path, form))
            faults.wrote(f"{model}: {name} with {row.needs}", ask(clients["permissions"], "POST", path, form))


def test_nothing_is_done_in_a_pack_in_the_trash(world: World, root: Client, faults: Faults) -> None:
    posts: list[tuple[Act, str, dict[str, Any]]] = [(ACTIONS[key], *posted(world, *key)) for key in ACTIONS]
    posts += [(act, address(name, world.ids), form) for name, row in PAGES.items() for act, form in row.acts(world.ids)]
    for act, path, form in posts:
        if act.closed:
            with taken_back():
                act.before(world.ids)
                services.delete_pack(world.pack.pk)
                faults.idle(f"POST {path} {form} in a pack in the trash", ask(root, "POST", path, form))


# --- Beside the pages of models ---------------------------------------------------------------------------------------

# What staff without any permission are answered, and the query.
SITE: dict[str, tuple[int, str]] = {
    "admin:index": (200, ""),
    "admin:search": (200, "?s=e&extended=1"),
    "admin:password_change": (200, ""),
    "admin:password_change_done": (200, ""),
    "admin:autocomplete": (403, ""),
    "admin:jsi18n": (200, ""),
    "admin:view_on_site": (404, ""),
    "admin:app_list": (404, ""),
}
DOORS = {"admin:login", "admin:logout"}  # tests/accounts


def test_the_sites_own_pages_show_nothing_of_packs(
    world: World, staff: Staff, outsiders: dict[str, Client], faults: Faults
) -> None:
    models = {f"admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry}
    own = {
        route.name for route in routes() if route.path.startswith("admin/") and not route.path.startswith(tuple(models))
    }
    assert own - {""} - DOORS == set(SITE), f"SITE in {HERE} and the site's own pages differ: {own ^ set(SITE)}"
    kind = Permission.objects.filter(content_type__model="entry").values_list("content_type", flat=True)[0]
    known = {"admin:view_on_site": [kind, world.ids["entry"]], "admin:app_list": ["knowledge"]}
    for name, (status, query) in SITE.items():
        path = reverse(name, args=known.get(name, []))
        for who, client in outsiders.items():
            faults.sent_to_sign_in(f"GET {path} by {who}", path, ask(client, "GET", path))
        response, written = ask(staff.having(), "GET", path + query)
        assert (response.status_code, written) == (status, set()), path
        assert b"Shared" not in response.content, path
        assert b"admin/knowledge/" not in response.content, path


def test_suggestions_are_for_those_who_may_see_the_list(
    world: World, staff: Staff, outsiders: dict[str, Client], faults: Faults
) -> None:
    """Every relation of every model: Django serves any whose other end can be searched, whether a form uses it or not."""
    searched = {model: page for model, page in admin.site._registry.items() if page.search_fields}
    tried = set()
    for model in admin.site._registry:
        for one in model._meta.get_fields():
            if not one.concrete or one.related_model not in searched:
                continue
            remote = one.related_model._meta
            query = f"?app_label={model._meta.app_label}&model_name={model._meta.model_name}&field_name={one.name}"
            path = reverse("admin:autocomplete") + query
            what = f"{model._meta.label}.{one.name}"
            tried.add(remote.model_name)
            faults.refused(f"{what} with no permission", ask(staff.having(), "GET", path))
            faults.sent_to_sign_in(f"{what} by a viewer", path, ask(outsiders["viewer"], "GET", path))
            if remote.app_label == "knowledge":
                look = f"view_{remote.model_name}"
                faults.refused(f"{what} without {look}", ask(staff.lacking(look), "GET", path))
                faults.shown(f"{what} with {look}", ask(staff.having(look), "GET", path))
            else:
                faults.refused(f"{what} without {remote.label}", ask(staff.having(*permissions()), "GET", path))
    assert {"knowledgepack", "entry", "user"} <= tried


def test_filters_do_not_reach_other_tables(world: World, root: Client) -> None:
    """A filter on somebody's password hash would give it away letter by letter."""
    tried = 0
    for model in admin.site._registry:
        names = {one.name: one.related_model for one in model._meta.get_fields() if one.concrete and one.related_model}
        paths = [f"{name}__password" for name, related in names.items() if related is User]
        paths += [
            f"{name}__owner__password"
            for name, related in names.items()
            if related and related.__name__ == "KnowledgePack"
        ]
        for lookup in paths if model._meta.app_label == "knowledge" else ():
            tried += 1
            page = reverse(f"admin:knowledge_{model._meta.model_name}_changelist")
            assert root.get(f"{page}?{lookup}__startswith=m").status_code == 400, lookup
    assert tried > 10


def test_pages_of_the_other_apps_are_for_staff_with_permissions(
    staff: Staff, outsiders: dict[str, Client], faults: Faults
) -> None:
    """What they show and do has tests of its own; here only who comes in. Permissions of the knowledge app open none of them."""
    nobody = "01a20000-0000-7000-8000-000000000000"
    every = staff.having(*permissions())
    for route in routes():
        if (
            route.path.count("/") < 3
            or not route.path.startswith("admin/")
            or not route.name
            or route in knowledge_routes()
        ):
            continue
        if route.name in SITE:
            continue
        path = reverse(route.name, kwargs=dict.fromkeys(route.keys, nobody))
        for who in ("viewer", "anonymous"):
            faults.sent_to_sign_in(f"GET {path} by {who}", path, ask(outsiders[who], "GET", path))
            faults.sent_to_sign_in(f"POST {path} by {who}", path, ask(outsiders[who], "POST", path, {"post": "yes"}))
        for method in ("GET", "POST"):
            response, written = ask(every, method, path)
            unknown = route.keys and response.status_code == 302 and response["Location"] == reverse("admin:index")
            if not unknown:  # Django looks for the row before it asks for the permission
                faults.refused(f"{method} {path} with the knowledge app's permissions", (response, written))
