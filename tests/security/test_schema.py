"""Every operation of the schema, with what it allows and what it does not: no server errors, nothing that is not declared, and nobody
let in who has not said who they are."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from hypothesis import HealthCheck, Phase, given, settings

from tests.security.contract import Stock, cases, check, operations, stocked
from tests.support.fake_openai import FakeModelServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]
PARTS = {"packs": "/api/knowledge-packs", "councils": "/api/council", "rest": "/api/"}
FEW, MANY = 4, 110  # cases for each operation; many in make deep


@pytest.fixture
def stock(fake: FakeModelServer, settings: LazySettings, tmp_path: Path) -> Iterator[Stock]:
    settings.MEDIA_ROOT = tmp_path
    made = stocked()
    logging.disable(logging.CRITICAL)
    yield made
    logging.disable(logging.NOTSET)


@pytest.fixture
def many(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--hypothesis-profile") == "deep")


def of_part(part: str) -> list[Any]:
    """Those that begin as it says and belong to no part before it."""
    starts = list(PARTS.values())
    return [one for one in operations() if next(start for start in starts if one.path.startswith(start)) == PARTS[part]]


@pytest.mark.parametrize("part", list(PARTS))
def test_every_operation_keeps_to_the_schema(stock: Stock, part: str, many: bool) -> None:
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    for operation in of_part(part):
        try:
            run(operation, stock, statuses, MANY if many else FEW)
        except (Exception, BaseExceptionGroup) as fault:  # noqa: BLE001  # each operation's own, told together
            told = traceback.format_exception(fault, limit=-4) if isinstance(fault, Exception) else [str(fault)]
            faults.append(f"{operation.label}: {''.join(told)}")
    assert not faults, "\n\n".join(faults)
    assert statuses[200] > len(of_part(part)) / 2, statuses  # it was not refusals alone that kept to the schema


def run(operation: Any, stock: Stock, statuses: Counter[int], count: int) -> None:
    @settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=count == FEW,
    )
    @given(case=cases(operation, stock))
    def each(case: Any) -> None:
        statuses[check(case, stock)] += 1

    each()
