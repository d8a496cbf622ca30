"""Values that want to be something else: SQL, header lines, paths, fields that are not the caller's. Generated over the OpenAPI document
and the URL configuration, so that a new route or parameter is tried without anybody thinking of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.test import Client

from accounts.models import ApiKey, User
from council import services as councils
from council.models import CouncilSession
from knowledge.models import Entry, KnowledgePack
from tests.conftest import Api
from tests.knowledge.shared_pack import World, build

pytestmark = pytest.mark.django_db

Operation = tuple[str, str, dict[str, Any]]
DOCUMENT: dict[str, Any] = yaml.safe_load((settings.BASE_DIR / "docs/openapi.yaml").read_text())
STRANGE_ID = "0190a1b2-dead-7000-8000-00000000beef"
STRANGE_NUMBER = 424242
STRANGE_TIME = "2001-02-03T04:05:06Z"
# What a caller might wish to set. Where an operation does take one of them, it is left out there.
WISHES: dict[str, Any] = {
    **dict.fromkeys(
        ["id", "pk", "uuid", "owner", "owner_id", "user", "user_id", "author", "created_by", "pack_id", "session_id"],
        STRANGE_ID,
    ),
    **dict.fromkeys(
        ["version", "revision", "last_seq", "index_epoch", "entry_count", "usage", "attempt"], STRANGE_NUMBER
    ),
    **dict.fromkeys(
        ["created_at", "updated_at", "deleted_at", "started_at", "finished_at", "date_joined", "last_used_at"],
        STRANGE_TIME,
    ),
    **dict.fromkeys(["is_staff", "is_superuser", "is_active", "admin", "sealed"], True),
    "status": "qwish",
    "role": "qwish",
    "password": "qwish",
    "content_hash": "qwish",
    "decision": {"option": "qwish"},
    "groups": ["qwish"],
    "__proto__": {"qwish": True},
    "constructor": "qwish",
    "_state": "qwish",
}

SQL = (
    "'",
    '"',
    "';--",
    "' OR '1'='1",
    "1 OR 1=1",
    "1; SELECT pg_sleep(5)--",
    "' || pg_sleep(5) || '",
    "'; DROP TABLE accounts_user; --",
    "%' OR 1=1 --",
    "') UNION SELECT password FROM accounts_user--",
    "created_at); SELECT pg_sleep(5)--",
    "id__isnull",
    "owner__password__startswith",
    "$$",
    "\\",
    "\\'",
    "%s",
    "%(a)s",
    "{}",
    "\x00",
    "a\x00b",
    "(((((",
    "-1",
    "1e999",
    "٣",
    "🦉",
    "a" * 5000,
    "*",
    "E'\\x27'",
    "/*",
    "name\" = ''",
)


@pytest.fixture
def world(db: None) -> World:
    world = build()
    session = councils.create_session(world.people["owner"], councils.Plan(question="Which?", packs=[world.pack.pk]))
    return World(world.pack, {**world.ids, "session": session.pk}, world.people, world.keys)


def operations(*methods: str) -> Iterator[Operation]:
    for path, found in DOCUMENT["paths"].items():
        yield from ((path, method, operation) for method, operation in found.items() if method in methods)


def filled(path: str, world: World) -> str:
    """With what there is; the rest are ids of nothing."""
    own = world.ids["session"] if "council-sessions" in path else world.ids["pk"]
    known = {
        "id": own,
        "pk": own,
        **{
            name: world.ids[name] for name in ("share", "snapshot", "entry", "n", "question", "evaluation", "import_id")
        },
    }
    return re.sub(r"{(\w+)}", lambda found: str(known.get(found[1], STRANGE_ID)), path)


def schema_of(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return resolved(content.get("schema", {}))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Through references and to the first of alternatives."""
    while True:
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        elif choices := schema.get("oneOf") or schema.get("anyOf") or schema.get("allOf"):
            schema = choices[0]
        else:
            return schema


def counts() -> list[int]:
    """Of what nobody makes or removes by looking."""
    return [model._default_manager.count() for model in (User, ApiKey, KnowledgePack, Entry, CouncilSession)]


def granted() -> list[str]:
    """Rows in which a wish stands. Whole rows as text, for a wish may come to stand in any column."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_models():
            table = model._meta.db_table
            if table.startswith(("accounts_", "knowledge_", "council_")):
                rows = f'SELECT to_jsonb(t)::text FROM "{table}" t WHERE to_jsonb(t)::text ~ %s'  # noqa: S608  # our own names
                cursor.execute(rows, [f"qwish|{STRANGE_ID}|\\m{STRANGE_NUMBER}\\M|2001-02-03"])
                found += [f"{table}: {row[:300]}" for (row,) in cursor.fetchall()]
    return found


class TestMassAssignment:
    def test_no_field_is_set_that_an_operation_does_not_name(self, world: World) -> None:
        """An operation that reads a body refuses every wish by name; one that reads none passes over them. Nothing is set by it."""
        api, faults, refused = Api(world.keys["owner"]), [], 0
        for path, method, described in operations("post", "patch", "put"):
            taken = schema_of(described).get("properties", {})
            wishes = {name: value for name, value in WISHES.items() if name not in taken}
            answer = api(method.upper(), filled(path, world), {**example(described), **wishes})
            pointed = {one["pointer"] for one in problem(answer).get("errors", []) if one["detail"] == "Unknown field."}
            refused += pointed == {f"/{name}" for name in wishes}
            if answer.status_code == 500 or (taken and answer.status_code < 400):
                faults.append((method, path, answer.status_code))
        assert faults == []
        assert refused > 15
        assert granted() == []
        assert list(User.objects.filter(is_staff=True)) == [world.people["staff"]]

    @pytest.mark.parametrize("path", ["/accounts/login", "/accounts/keys", "/packs/new", "/councils/new"])
    def test_forms_take_their_own_fields_alone(self, path: str, world: World, client: Client) -> None:
        client.force_login(world.people["owner"])
        wishes = {name: value for name, value in WISHES.items() if isinstance(value, str | int)}
        client.post(
            path, {"name": "a", "language": "english", "question": "Which?", "then": "keep", "scopes": [], **wishes}
        )
        assert granted() == []
        assert list(User.objects.filter(is_staff=True)) == [world.people["staff"]]


def example(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    [first] = list(content.get("examples", {"": {}}).values())[:1]
    value = first.get("value", {})
    return {name: one for name, one in value.items() if name != "packs"}


class TestSql:
    def test_no_parameter_reaches_the_statement(self, world: World) -> None:
        """Each parameter of each list with a sixth of the values, and a few that no list has."""
        before, api, faults, asked = counts(), Api(world.keys["owner"]), [], 0
        began = time.monotonic()
        for path, _, described in operations("get"):
            names = [q["name"] for q in described.get("parameters", []) if q["in"] == "query"]
            address = filled(path, world)
            if not names or path.endswith("/stream"):
                continue
            whole = max(length(api.get(address)), length(api.get(f"/api/knowledge-packs/{world.pack.pk}/entries")))
            for number, name in enumerate(
                [*names, "meta.a'b", "meta.k') OR 1=1--", "id__in", "owner__password__startswith"]
            ):
                for value in SQL[number % 6 :: 6]:
                    answer = api.get(f"{address}?{quote(name)}={quote(value)}")
                    asked += 1
                    if answer.status_code >= 500 or length(answer) > whole:
                        faults.append((path, name, value[:40], answer.status_code))
        print(f"{asked} requests in {time.monotonic() - began:.1f} s")
        assert faults == []
        assert counts() == before

    def test_no_part_of_an_address_reaches_the_statement(self, world: World) -> None:
        values, api, before, faults = cycle(SQL), Api(world.keys["owner"]), counts(), []
        for path, method, _ in operations("get", "delete"):
            for name in re.findall(r"{(\w+)}", path):
                value = next(one for one in values if "/" not in one and len(one) < 100)
                address = filled(path.replace(f"{{{name}}}", quote(value, safe="")), world)
                answer = api(method.upper(), address)
                if answer.status_code not in {400, 404, 405}:
                    faults.append((method, address, answer.status_code))
        assert faults == []
        assert counts() == before


def problem(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.json() if answer.headers.get("Content-Type") == "application/problem+json" else {}
    return found


def length(answer: Any) -> int:
    if answer.streaming or not answer.headers.get("Content-Type", "").endswith("json"):
        return 0
    found = answer.json()
    return len(found["results"]) if isinstance(found, dict) and isinstance(found.get("results"), list) else 0


LINES = (
    "a\r\nSet-Cookie: q=1",
    "a\nX-Evil: 1",
    "a\r\n\r\n<script>",
    "a\u2028b",
    "a\x85X-Evil: 1",
    "a%0d%0aX-Evil:1",
    'a"; filename="evil.html',
    "../../etc/passwd",
)


class TestHeaders:
    @staticmethod
    def assert_sound(answer: Any) -> None:
        for name, value in answer.headers.items():
            assert not re.search(r"[\r\n\x00\x85\u2028]", f"{name}{value}")
        assert "X-Evil" not in answer.headers
        assert "q" not in answer.cookies
        assert answer.headers.get("Content-Disposition", "filename=").count("filename=") == 1

    def test_no_value_makes_a_header(self, world: World) -> None:
        for text in LINES:
            self.assert_no_header(text, world)

    def assert_no_header(self, text: str, world: World) -> None:
        api = Api(world.keys["owner"])
        pack = api.post("/api/knowledge-packs", {"name": text}).json()
        for answer in (
            api.get("/api/me", X_Request_ID=text),
            api.get("/api/me", Origin=text),
            api.get("/api/me", If_None_Match=text),
            api.get("/api/me", Accept_Encoding=text),
            api.get("/api/me", Accept=text),
            api.post("/api/knowledge-packs", {"name": "a"}, Idempotency_Key=text),
            api.get(f"/api/knowledge-packs?cursor={quote(text)}"),
            api.get(f"/api/knowledge-packs/{quote(text)}"),
            api.get(f"/api/knowledge-packs/{pack.get('id', world.pack.pk)}/export?format=jsonl"),
            api.get(f"/accounts/login?next={quote(text)}"),
            api.get(f"/packs/{quote(text)}/"),
        ):
            assert answer.status_code < 500
            self.assert_sound(answer)

    @pytest.mark.parametrize(
        "place",
        [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "\thttps://evil.example",
            "https:evil.example",
        ],
    )
    def test_nobody_is_sent_elsewhere(self, place: str, user: User, client: Client) -> None:
        client.force_login(user)
        for path in ("/accounts/login", "/admin/login/", "/accounts/logout"):
            for answer in (client.get(f"{path}?next={quote(place)}"), client.post(path, {"next": place})):
                assert answer.status_code < 500
                assert "evil" not in answer.headers.get("Location", "")
                assert "javascript" not in answer.headers.get("Location", "")


UP = (
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%252f",
    "..\\",
    "%2e%2e%5c",
    "....//",
    "/",
    "//",
    "..%c0%af",
    "\u2025/",
    "..;/",
)


class TestPaths:
    @pytest.mark.parametrize("up", UP)
    def test_files_stay_where_they_are(self, up: str, user: User, client: Client) -> None:
        client.force_login(user)
        for wanted in ("config/settings.py", "etc/passwd", "manage.py", "var/secret_key"):
            for base in ("/static/", "/static/js/", "/static/admin/css/", "/api/", "/accounts/"):
                answer = client.get(f"{base}{up * 4}{wanted}")
                assert answer.status_code in {301, 302, 400, 404}, (base, up)
                assert "root:" not in body_of(answer)
                assert "SECRET_KEY" not in body_of(answer)

    def test_names_of_formats_are_not_paths(self, world: World) -> None:
        api, pack, session = Api(world.keys["owner"]), world.pack.pk, world.ids["session"]
        for up in UP:
            assert api.get(f"/api/knowledge-packs/{pack}/export?format={up}etc/passwd").status_code == 400
            assert api.get(f"/api/council-sessions/{session}/export?format={up}md").status_code == 400


def body_of(answer: Any) -> str:
    return (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode(errors="replace")
