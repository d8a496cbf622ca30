"""The routes of people: what waits for them, what their seat may know, what they say, and the gate."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import COUNCILS
from council import people, selectors
from council.api import serializers as s
from council.api.packs_scope import check_packs
from realtime.errors import InvalidInput


class TurnListView(ApiView):
    """GET /api/council-sessions/{id}/turns"""

    scopes = COUNCILS

    @extend_schema(
        operation_id="council_sessions_turns_list",
        responses=s.TurnListOut,
        parameters=[
            OpenApiParameter("waiting", bool, description="Only turns that wait for a person now, the gate's too.")
        ],
    )
    def get(self, request: Request, pk: UUID) -> Response:
        waiting = request.query_params.get("waiting", "false")
        if waiting not in {"true", "false"}:
            detail = "waiting is true or false."
            raise InvalidInput(detail, code="bad_query", errors=[{"pointer": "/waiting", "detail": detail}])
        turns = people.waiting(self.user, pk) if waiting == "true" else people.turns_of(self.user, pk)
        return Response({"results": [people.header(turn) for turn in turns]})


class TurnView(ApiView):
    """GET and POST /api/council-sessions/{id}/turns/{turn}"""

    scopes = COUNCILS

    @extend_schema(
        responses=s.TurnDetailOut,
        description="A person's turn: all that its seat may know, and the JSON Schema of the reply. The first time it searches the "
        "packs for the seat; what was found then stays, so that citation numbers hold. Other turns are 404.",
    )
    def get(self, request: Request, pk: UUID, turn_id: UUID) -> Response:
        check_packs(self, pk)
        return Response(people.turn_detail(self.user, pk, turn_id))

    @extend_schema(
        request=OpenApiTypes.OBJECT,
        responses=s.TurnOut,
        description="Complete the turn. The body has the shape that `expects` of the GET gives, and is held to what a model's reply "
        "is held to: 400 with pointers, and nothing is stored. 409 when the turn is over (`turn_over`), its deadline "
        "passed (`deadline_passed`) or the council does not run (`not_running`).",
    )
    def post(self, request: Request, pk: UUID, turn_id: UUID) -> Response:
        return Response(people.header(people.reply(self.user, pk, turn_id, request.data)))


class GateView(ApiView):
    """GET and POST /api/council-sessions/{id}/gate"""

    scopes = COUNCILS

    @extend_schema(
        responses=s.TurnDetailOut,
        description="The gate that is open, with the computed outcome as `context`; 409 (`no_gate`) when none is.",
        extensions={"x-errors": ["409"]},
    )
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(people.turn_detail(self.user, pk, people.open_gate(self.user, pk).pk))

    @extend_schema(
        request=s.GateIn,
        responses=s.SessionOut,
        description="`approve` goes on to the text, `debate` holds one more debate and a new ballot where seats disagree (409 "
        "`no_debate` where that cannot be), `stop` ends with the count. The note is read by those who are asked next.",
    )
    def post(self, request: Request, pk: UUID) -> Response:
        selectors.session_for(self.user, pk)
        session = people.decide_gate(self.user, pk, **self.validated(s.GateIn))
        return self.single(selectors.session_detail(session), session.version)
