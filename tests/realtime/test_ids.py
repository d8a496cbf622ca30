"""Ids that keep the order in which they were made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from realtime.ids import uuid7


def test_ids_of_a_process_are_in_the_order_in_which_they_were_made() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_threads_do_not_get_the_same_or_fall_back() -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: [uuid7() for _ in range(2_000)], range(4)))
    assert all(ids == sorted(ids) for ids in found)
    assert len({one for ids in found for one in ids}) == 8_000


def test_it_is_version_7_of_this_moment() -> None:
    one = uuid7()
    assert (one.version, one.variant) == (7, "specified in RFC 4122")
    assert abs((one.int >> 80) - time.time() * 1000) < 2_000
