"""One fake model server per test module; its rules and records are cleared before every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from council.llm import client
from council.llm.types import ChatRequest, Endpoint
from tests.support.fake_openai import FakeModelServer

Ask = Callable[..., ChatRequest]


@pytest.fixture(autouse=True)
def only_models_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the root conftest; again here, so that running this directory alone (--confcutdir) is as safe."""
    monkeypatch.setattr(client, "ALLOW_REAL_MODELS", False)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as server:
        yield server


@pytest.fixture
def fake(server: FakeModelServer) -> FakeModelServer:
    server.reset()
    return server


@pytest.fixture
def ask(fake: FakeModelServer) -> Ask:
    """A request to the fake, by either door."""

    def make(model: str = "fake", provider: str = "openai", **fields: Any) -> ChatRequest:
        base_url = fake.url if provider == "openai" else fake.root
        endpoint = Endpoint(base_url, model, provider)  # type: ignore[arg-type]  # parametrised as text
        given: dict[str, Any] = {"system": "Be brief.", "user": "Why?", "timeout_s": 5.0}
        return ChatRequest(endpoint, **(given | fields))

    return make
