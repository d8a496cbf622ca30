"""Prometheus metrics that are read from the database when somebody asks, and are so the same in every process."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django.db import Error as DatabaseError
from django.db import transaction
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import PoolTimeout

from config.cleaning import CLEANERS
from realtime.models import Cleanup

logger = logging.getLogger(__name__)

REMOVED = "quorum_cleanup_removed"
LAST_SUCCESS = "quorum_cleanup_last_success_timestamp_seconds"


class Cleanups(Collector):
    """A cleaner that has never run has a counter of 0 and no time. Without a database there are no samples; the others' are there."""

    def describe(self) -> Iterator[Metric]:
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        try:
            with transaction.atomic():  # an error must not spoil a transaction that is under way here
                known = {row.name: row for row in Cleanup.objects.all()}
        except (DatabaseError, PoolTimeout) as error:
            logger.warning("the figures of clean-ups cannot be read: %s", error)
            return
        removed, last = _families()
        for cleaner in CLEANERS:
            row = known.get(cleaner.name)
            removed.add_metric([cleaner.name], row.removed if row else 0)
            if row and row.last_success_at:
                last.add_metric([cleaner.name], row.last_success_at.timestamp())
        yield removed
        yield last


def _families() -> tuple[CounterMetricFamily, GaugeMetricFamily]:
    return (
        CounterMetricFamily(REMOVED, "What scheduled clean-ups have removed or ended", labels=["name"]),
        GaugeMetricFamily(LAST_SUCCESS, "When a clean-up last found nothing left to do", labels=["name"]),
    )


def register() -> None:
    REGISTRY.register(Cleanups())
