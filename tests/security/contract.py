"""Our own schema, driven by Schemathesis: what is sent, as whom, and what an answer may be.

The application is called in this process, through the whole of its middleware, and every call is taken back afterwards: each case
meets the same stocked data. Ids are those of real objects in most cases, or else every answer were a 404.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import close_old_connections, transaction
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts import exports
from accounts.models import ApiKey, User
from council import services as councils
from council.models import CouncilSession
from knowledge.models import EntryRevision
from tests.council.test_access_matrix import webhook_of
from tests.knowledge.shared_pack import build
from tests.support.councils import conclude

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
PLAIN = {"Accept-Encoding": "identity"}  # else answers come compressed, which Schemathesis does not undo in process
# Anything, and not only what may stand in a header: that is refused by the server before it is ours.
_UNSENDABLE = "".join(chr(one) for one in (*range(32), 127))


# What ``id`` stands for, by the beginning of the path; longer beginnings first.
KINDS = (
    ("/api/knowledge-packs", "pack"), ("/api/council", "session"), ("/api/me/webhooks", "webhook"), ("/api/me", "key"), ("", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Stock:
    """Somebody who owns everything there is: their login's token, and the ids that each parameter of a path may be."""

    token: str
    ids: Mapping[str, Sequence[Any]]

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Session-Token": self.token, **PLAIN}


def stocked() -> Stock:
    """A pack with something of everything, a council that has ended, one that waits for its person, and a draft. The owner is
    staff, so that no route is closed."""
    world = build()
    owner = world.people["owner"]
    User.objects.filter(pk=owner.pk).update(is_staff=True, is_superuser=True)
    sessions = [council(owner, world.pack.pk, answered_by) for answered_by in ("fake", "human", "")]
    browser = Client()
    browser.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
    with transaction.atomic():
        hook = webhook_of(owner)
    turns = [str(pk) for one in sessions for pk in one.turns.values_list("pk", flat=True)]
    return Stock(
        browser.session.session_key or "",
        {
            "pack": [str(world.pack.pk)],
            "session": [str(one.pk) for one in sessions],
            "key": [str(pk) for pk in ApiKey.objects.filter(user=owner).values_list("pk", flat=True)],
            "entry": [str(world.ids["entry"])],
            "webhook": [str(hook["hook_id"])],
            "delivery_id": [str(hook["delivery_id"])],
            "export_id": [str(exports.request(owner).pk)],
            "n": list(EntryRevision.objects.filter(entry=world.ids["entry"]).values_list("number", flat=True)),
            "turn_id": turns,
            "seat": [str(pk) for one in sessions for pk in one.seats.values_list("pk", flat=True)],
            "login_id": [str(pk) for pk in owner.login_sessions.values_list("pk", flat=True)],
            **{name: [str(world.ids[name])] for name in ("share", "snapshot", "question", "evaluation", "import_id")},
        },
    )


def council(owner: User, pack: Any, answered_by: str) -> CouncilSession:
    """``answered_by`` is the model of the second seat; "" for a council that was not started."""
    agents: list[Any] = [{"name": "A", "model": "fake-option-1"}, {"name": "B", "model": answered_by or "fake"}]
    plan = councils.Plan(question="Which bread?", options=["Rye", "Oat"], packs=[pack], agents=agents)
    session = councils.create_session(owner, plan)
    return conclude(owner, session) if answered_by else session


@cache
def schema() -> Any:
    """Of the code as it is, not of the file. Nothing is looked up on this machine but what is given here."""
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # upstream's
    generation = GenerationConfig(with_security_parameters=False, exclude_header_characters=_UNSENDABLE)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    loaded = schemathesis.openapi.from_dict(document, config=config)
    loaded.app = WSGIHandler()
    return loaded


@cache
def operations() -> list[Any]:
    return [found.ok() for found in schema().get_all_operations()]


def parameters(operation: Any, stock: Stock) -> dict[str, Sequence[Any]]:
    """The real ids for each parameter of the path."""
    kind = next(kind for start, kind in KINDS if operation.path.startswith(start))
    return {one.name: stock.ids[kind if one.name == "id" else one.name] for one in operation.path_parameters}


@st.composite
def cases(draw: st.DrawFn, operation: Any, stock: Stock) -> Any:
    modes = [schemathesis.GenerationMode.POSITIVE]
    if operation.body or operation.query or operation.headers:
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    case = draw(operation.as_strategy(generation_mode=draw(st.sampled_from(modes))))
    real = parameters(operation, stock)
    if real and draw(cast("st.SearchStrategy[Any]", st.integers(0, 9))):
        case.path_parameters = {name: draw(st.sampled_from(ids)) for name, ids in real.items()}
    return case


@contextmanager
def taken_back() -> Iterator[None]:
    """Around a request: what it changed is undone, and its end does not end the connection, as in Django's own test client."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    finally:
        for signal in signals:
            signal.connect(close_old_connections)


@contextmanager
def raised() -> Iterator[list[BaseException]]:
    """What views raise and nobody foresaw."""
    found: list[BaseException] = []

    def note(**_: object) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            found.append(error)

    got_request_exception.connect(note)
    try:
        yield found
    finally:
        got_request_exception.disconnect(note)


def is_open(operation: Any) -> bool:
    """Whether the schema lets strangers in."""
    return {} in operation.definition.raw.get("security", [{}])


def check(case: Any, stock: Stock) -> int:
    """Sends it, judges the answer, and sends what succeeded again as nobody. Returns the status."""
    with taken_back(), raised() as errors:
        response = case.call(headers=stock.headers)
    if errors:
        raise errors[0]  # rather than that it was 500
    case.validate_response(response, checks=CHECKS, headers=stock.headers)
    if response.status_code < 400 and not is_open(case.operation):
        with taken_back():
            refused = case.call(headers=PLAIN)
        assert refused.status_code == 401, f"{case.method} {case.formatted_path} as nobody: {refused.status_code}"
        case.validate_response(refused, checks=CHECKS)
    return int(response.status_code)
