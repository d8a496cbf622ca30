"""What is read for turns before it is chosen, seat by seat, what each may know (``context``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from council import evidence, sql
from council.claims import Claim
from council.deliberation import citations
from council.deliberation.tools import Pack
from council.deliberation.types import Evidence, RunState, UserMessage
from council.models import Run
from council.state import load

HISTORY = 3  # earlier decisions that a follow-up reads


class Place(NamedTuple):
    """Where a turn stands. In the order of ``_PLACES``' columns."""

    question: str
    options: list[str]
    role: str
    instructions: str
    model: str
    evidence_k: int
    origin: dict[str, Any]  # of the run; {} for one that was begun anew


_PLACES = """
    SELECT turn.id, session.question, session.options::text, seat.role, seat.instructions, seat.model,
           (run.protocol ->> 'evidence_k')::int, run.origin::text
    FROM council_turn AS turn
    JOIN council_councilsession AS session ON session.id = turn.session_id
    JOIN council_seat AS seat ON seat.id = turn.seat_id
    JOIN council_round AS round ON round.id = turn.round_id
    JOIN council_run AS run ON run.id = round.run_id
    WHERE turn.id = ANY(%s::uuid[])
"""
_MESSAGES = """
    SELECT kind, content FROM council_message
    WHERE session_id = %s AND delivered_in_id IS NOT NULL AND seat_id IS NULL ORDER BY created_at, id
"""
_SHOWN = """
    SELECT DISTINCT ON (turn.seat_id) turn.seat_id, turn.evidence::text
    FROM council_turn AS turn JOIN council_round AS round ON round.id = turn.round_id
    WHERE round.run_id = %s AND turn.kind = 'answer' AND turn.status = 'completed'
    ORDER BY turn.seat_id, round.number DESC
"""


class Desk:
    """Reads that the turns of one worker share: claimed together, they belong to one run and stand before one state of it.

    What a seat may know is chosen for each by ``context.prepare``; that it was read once for all changes nothing of that.
    """

    def __init__(self, claims: Sequence[Claim], state: RunState | None = None) -> None:
        self._claims, self._state = claims, state
        self._run, self._session, self._run_number = claims[0].run_id, claims[0].session_id, claims[0].run_number
        self._found: dict[tuple[str, int], tuple[Evidence, ...]] = {}
        self._searches = True

    @cached_property
    def places(self) -> dict[UUID, Place]:
        rows = sql.rows(_PLACES, [[claim.turn_id for claim in self._claims]])
        return {
            row[0]: Place(row[1], json.loads(row[2]), row[3], row[4], row[5], row[6], json.loads(row[7] or "{}"))
            for row in rows
        }

    @property
    def origin(self) -> dict[str, Any]:
        """What the run was carried over from; {} for one that was begun anew."""
        return next((place.origin for place in self.places.values()), {})

    def model_of(self, claim: Claim) -> str:
        return self.places[claim.turn_id].model

    @cached_property
    def state(self) -> RunState:
        return self._state or load(self._run)

    @cached_property
    def messages(self) -> tuple[UserMessage, ...]:
        return tuple(UserMessage(kind=kind, content=content) for kind, content in sql.rows(_MESSAGES, [self._session]))

    @cached_property
    def history(self) -> tuple[str, ...]:
        """What a follow-up continues: the latest decisions before it, oldest first."""
        if self._run_number == 1:
            return tuple(self.origin.get("history", ()))
        # Who is asked to reconsider a decision reads what changed, not what was decided.
        before = self.origin["run"] if self.origin.get("kind") == "reconsider" else self._run_number
        earlier = Run.objects.filter(session=self._session, number__lt=before, decision__isnull=False)
        answers = earlier.order_by("-number").values_list("decision__answer", flat=True)[:HISTORY]
        return tuple(citations.strip_marks(answer) for answer in reversed(answers))

    @cached_property
    def shown(self) -> dict[str, tuple[Evidence, ...]]:
        """What each seat was shown when it last answered."""
        rows = sql.rows(_SHOWN, [self._run])
        return {str(seat): tuple(map(Evidence.model_validate, json.loads(evidence))) for seat, evidence in rows}

    def finds_nothing_new(self) -> None:
        self._searches = False

    @cached_property
    def packs(self) -> tuple[Pack, ...]:
        return evidence.searchable(self._session)

    def search(self, query: str, k: int) -> tuple[Evidence, ...]:
        """Seats without a role of their own ask the packs the same; the packs are asked once."""
        if not self._searches:
            return ()
        if (query, k) not in self._found:
            self._found[query, k] = evidence.retrieve(self._session, query, k)
        return self._found[query, k]
