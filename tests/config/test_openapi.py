"""The published OpenAPI document: complete, true to the code, and readable without another server."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from django.conf import settings
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer

from config.openapi import ERRORS, PROBLEM
from config.openapi_examples import BODIES

STORED = settings.BASE_DIR / "docs/openapi.yaml"
TYPESCRIPT = settings.BASE_DIR / "clients/typescript"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(STORED.read_text())
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield path, method, operation


def test_the_stored_document_is_what_the_code_says() -> None:
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # upstream's
    written = OpenApiYamlRenderer().render(schema, renderer_context={}).decode()  # type: ignore[no-untyped-call]  # upstream's
    assert written == STORED.read_text(), "the API has changed: run `make schema` and commit what it writes"


def test_every_operation_lists_its_refusals_as_problems(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for path, method, operation in operations(document):
        refusals = {status for status in operation["responses"] if status >= "400"}
        assert {"400", "429", "500", "503"} <= refusals, (path, method)
        assert ("404" in refusals) >= ("{" in path), (path, method)
        assert ("401" in refusals) == ({} not in operation.get("security", [{}])), (path, method)
        assert any(status < "400" for status in operation["responses"]), (path, method)


def test_a_problem_is_described_with_its_codes(document: dict[str, Any]) -> None:
    for status, (_, codes) in ERRORS.items():
        response = document["components"]["responses"][f"Error{status}"]
        assert all(f"`{code}`" in response["description"] for code in codes)
        shown = response["content"][PROBLEM]
        jsonschema.validate(shown["example"], document["components"]["schemas"]["Problem"])
        assert shown["example"]["status"] == int(status)


def test_a_real_refusal_is_of_the_described_shape(document: dict[str, Any], client: Client, db: None) -> None:
    answer = client.get("/api/council-sessions")
    assert answer.status_code == 401
    jsonschema.validate(answer.json(), document["components"]["schemas"]["Problem"])
    assert f"`{answer.json()['code']}`" in document["components"]["responses"]["Error401"]["description"]


def test_every_example_is_of_its_operations_shape(document: dict[str, Any]) -> None:
    bodies: dict[str, Any] = {one["operationId"]: one.get("requestBody") for _, _, one in operations(document)}
    for operation, example in BODIES.items():
        content = bodies[operation]["content"]["application/json"]
        assert content["examples"]["example"]["value"] == example
        jsonschema.validate(example, {**content["schema"], "components": document["components"]})


def test_operation_names_are_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_the_readers_come_from_here_under_the_strict_policy(client: Client, db: None, path: str) -> None:
    answer = client.get(path)
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*src=)", page)
    for source in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
        with closing(client.get(source)) as file:
            assert file.status_code == 200, source


# --- TypeScript -------------------------------------------------------------------------------------------------------


def test_the_types_are_made_of_the_stored_document() -> None:
    first = (TYPESCRIPT / "quorum.d.ts").read_text().splitlines()[0]
    assert first == f"// From docs/openapi.yaml, SHA-256 {hashlib.sha256(STORED.read_bytes()).hexdigest()}"


def test_the_example_compiles(tmp_path: Path) -> None:
    compiler = TYPESCRIPT / "node_modules/.bin/tsc"
    if not shutil.which("node") or not compiler.exists():
        pytest.skip("no node, or no TypeScript in clients/typescript (npm install): the example is not compiled")
    done = subprocess.run([compiler, "--project", TYPESCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
