"""What grows out of a council: a fork, a reconsideration, a question to one of its seats."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import COUNCILS
from council import asides, forks, reconsidering, selectors, serial
from council.api import serializers as s
from council.api.packs_scope import check_packs
from council.forks import EXCLUDED_MAX


class ChangesIn(s.SessionFields):
    """What is to be different. ``agents``, ``packs``, ``protocol``, ``options`` and ``question`` only when no round is kept."""

    title = None  # type: ignore[assignment]  # a fork is named after its original
    question = serializers.CharField(max_length=s.QUESTION_MAX, required=False)
    without_seats = serializers.ListField(child=serializers.UUIDField(), max_length=12, required=False)
    without_entries = serializers.ListField(child=serializers.UUIDField(), max_length=EXCLUDED_MAX, required=False)


class CouncilForkIn(serializers.Serializer[Any]):
    run = serializers.IntegerField(min_value=1, max_value=32767, required=False, help_text="By default the latest.")
    after_round = serializers.IntegerField(min_value=0, max_value=100, default=0)
    changes = ChangesIn(required=False)


class AskIn(serializers.Serializer[Any]):
    question = serializers.CharField(max_length=s.CONTENT_MAX)


class AskOut(serializers.Serializer[Any]):
    turn = serializers.UUIDField(help_text="Its events and deltas bring the reply.")
    message = s.MessageOut()


class CouncilForkView(ApiView):
    """POST /api/council-sessions/{id}/fork"""

    scopes = COUNCILS

    @extend_schema(request=CouncilForkIn, responses={201: s.SessionOut})
    def post(self, request: Request, pk: UUID) -> Response:
        selectors.session_for(self.user, pk)
        body = self.validated(CouncilForkIn)
        check_packs(self, pk)
        with transaction.atomic():
            session = forks.fork(self.user, pk, forks.Wish(**body))
            check_packs(self, session.pk)
        return self.single(selectors.session_detail(session), session.version, status=201)


class ReconsiderView(ApiView):
    """POST /api/council-sessions/{id}/reconsider"""

    scopes = COUNCILS
    rate_policies = {**ApiView.rate_policies, "POST": "run"}

    @extend_schema(request=None, responses={202: s.SessionOut})
    def post(self, request: Request, pk: UUID) -> Response:
        check_packs(self, pk)
        session = reconsidering.reconsider(self.user, pk)
        return self.single(selectors.session_detail(session), session.version, status=202)


class AskSeatView(ApiView):
    """POST /api/council-sessions/{id}/seats/{seat}/ask"""

    scopes = COUNCILS
    rate_policies = {**ApiView.rate_policies, "POST": "run"}

    @extend_schema(request=AskIn, responses={202: AskOut})
    def post(self, request: Request, pk: UUID, seat: UUID) -> Response:
        selectors.session_for(self.user, pk)
        check_packs(self, pk)
        message = asides.ask(self.user, pk, seat, self.validated(AskIn)["question"])
        return Response({"turn": str(message.turn_id), "message": serial.message(message)}, status=202)
