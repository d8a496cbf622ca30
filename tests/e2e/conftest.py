"""One stack for all tests that look at it through a browser: starting it costs more than any of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import LiveStack


@pytest.fixture(scope="package")
def shared_stack(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """Its tests are one ``xdist_group``, "browser", so that one process runs them and they follow each other: its workers serve the
    database of the whole test run, and must be gone when other tests begin."""
    with LiveStack(tmp_path_factory.mktemp("stack"), model="fake-slow") as stack:
        yield stack
