"""Events that are gathered in a transaction are written once, in order, and not at all when it fails."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from knowledge.models import KnowledgePack, PackEvent
from realtime import log

pytestmark = pytest.mark.django_db


def _types(pack: KnowledgePack) -> list[tuple[int, str]]:
    return list(PackEvent.objects.filter(stream=pack).order_by("seq").values_list("seq", "type"))


def test_they_are_written_together_and_in_order(pack: KnowledgePack) -> None:
    first = pack.last_seq
    with (
        transaction.atomic(),
        CaptureQueriesContext(
            connection,
        ) as seen,
        log.gathering(),
    ):
        log.append(pack, ("a", {}))
        log.append(KnowledgePack(pk=pack.pk), ("b", {}), ("c", {}))
    assert [kind for _, kind in _types(pack)][-3:] == ["a", "b", "c"]
    assert sum("last_seq" in query["sql"] for query in seen) == 1
    assert pack.last_seq == first + 3


def test_nothing_is_written_when_the_block_raises(pack: KnowledgePack) -> None:
    before = _types(pack)
    with pytest.raises(ZeroDivisionError):
        _append_and_fail(pack)
    assert _types(pack) == before
    with transaction.atomic():
        log.append(pack, ("b", {}))  # and nothing is left behind for the next
    assert [kind for _, kind in _types(pack)][len(before) :] == ["b"]


def _append_and_fail(pack: KnowledgePack) -> None:
    with transaction.atomic(), log.gathering():
        log.append(pack, ("a", {}))
        raise ZeroDivisionError
