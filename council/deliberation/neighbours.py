"""Who reads whom in a debate.

Up to four seats everybody reads everybody. From five seats on each reads half of the others, rounded up: sparse debates come to
the same answers for less (Li et al., "Improving Multi-Agent Debate with Sparse Communication Topology", Findings of EMNLP 2024),
and an answer that not everybody has read can still be argued against.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import ceil

FULL = 4  # seats up to which everybody reads everybody


def neighbours(seats: Sequence[str], seed: int, number: int, degree: int | None = None) -> dict[str, tuple[str, ...]]:
    """For each seat the seats whose answers it reads in round ``number``; ``degree`` of them, or as many as the module says.

    Balanced: each is read exactly as often as it reads. Seats stand in a ring, shuffled anew for each round, and read those
    that follow them; the order of ``seats`` does not matter.
    """
    others = len(seats) - 1
    wanted = degree or (others if len(seats) <= FULL else ceil(others / 2))
    ring = sorted(seats, key=lambda seat: sha256(f"{seed}:{number}:{seat}".encode()).digest())
    reads = range(1, min(wanted, others) + 1)
    return {seat: tuple(ring[(place + step) % len(ring)] for step in reads) for place, seat in enumerate(ring)}
