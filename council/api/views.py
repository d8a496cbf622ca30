"""The council routes: validate, call one service, render."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.events import EventLogView
from accounts.api.views import ApiView
from accounts.scopes import COUNCILS, Scope
from council import effective, merges, selectors, serial, services
from council.api import serializers as s
from council.api.packs_scope import check_packs
from council.deliberation.types import Rule
from council.models import CouncilSession
from council.recount import recount, rule_named


class SessionListView(ApiView):
    """POST and GET /api/council-sessions"""

    scopes = COUNCILS
    filter_names = frozenset({"status"})

    @extend_schema(request=s.SessionIn, responses={201: s.SessionOut})
    def post(self, request: Request) -> Response:
        body = self.validated(s.SessionIn)
        with transaction.atomic():  # which packs a template brings is known when it is made
            session = services.create_session(self.user, services.Plan(**body))
            check_packs(self, session.pk)
        return self.single(selectors.session_detail(session), session.version, status=201)

    @extend_schema(responses=s.SessionHeader(many=True), parameters=[OpenApiParameter("status", str)])
    def get(self, request: Request) -> Response:
        sessions = selectors.listed_sessions(self.user)
        if (status := request.query_params.get("status")) is not None:
            sessions = selectors.sessions_for(self.user).filter(status=status)
        return self.paginated(sessions, s.SessionHeader)


class SessionView(ApiView):
    """GET and PATCH /api/council-sessions/{id}"""

    scopes = COUNCILS

    @extend_schema(responses=s.SessionOut)
    def get(self, request: Request, pk: UUID) -> Response:
        detail = selectors.detail_for(self.user, pk)
        return self.single(detail, detail["version"])

    @extend_schema(request=s.SessionPatch, responses=s.SessionOut)
    def patch(self, request: Request, pk: UUID) -> Response:
        selectors.session_for(self.user, pk)
        changes: dict[str, Any] = self.validated(s.SessionPatch, partial=True)
        if changes.get("packs"):
            self.require_scopes(Scope.PACKS_READ)
        session = services.update_session(self.user, pk, changes, self.check_if_match)
        return self.single(selectors.session_detail(session), session.version)


class StartView(ApiView):
    """POST /api/council-sessions/{id}/start"""

    scopes = COUNCILS
    rate_policies = {**ApiView.rate_policies, "POST": "run"}

    @extend_schema(request=None, responses={202: s.SessionOut})
    def post(self, request: Request, pk: UUID) -> Response:
        check_packs(self, pk)
        session = services.start(self.user, pk)
        return self.single(selectors.session_detail(session), session.version, status=202)


class StopView(ApiView):
    """POST /api/council-sessions/{id}/stop"""

    scopes = COUNCILS

    @extend_schema(request=None, responses={202: s.SessionOut})
    def post(self, request: Request, pk: UUID) -> Response:
        session = services.stop(self.user, pk)
        return self.single(selectors.session_detail(session), session.version, status=202)


class PauseView(ApiView):
    """POST /api/council-sessions/{id}/pause"""

    scopes = COUNCILS

    @extend_schema(request=None, responses={202: s.SessionOut})
    def post(self, request: Request, pk: UUID) -> Response:
        session = services.pause(self.user, pk)
        return self.single(selectors.session_detail(session), session.version, status=202)


class ResumeView(ApiView):
    """POST /api/council-sessions/{id}/resume"""

    scopes = COUNCILS

    @extend_schema(request=None, responses={202: s.SessionOut})
    def post(self, request: Request, pk: UUID) -> Response:
        check_packs(self, pk)
        session = services.resume(self.user, pk)
        return self.single(selectors.session_detail(session), session.version, status=202)


class MessageView(ApiView):
    """POST /api/council-sessions/{id}/message"""

    scopes = COUNCILS

    @extend_schema(request=s.MessageIn, responses={201: s.MessageOut})
    def post(self, request: Request, pk: UUID) -> Response:
        selectors.session_for(self.user, pk)
        body = self.validated(s.MessageIn)
        check_packs(self, pk)  # it may be a follow-up
        return Response(serial.message(services.post_message(self.user, pk, **body)), status=201)


class EventsView(EventLogView):
    """GET /api/council-sessions/{id}/events"""

    scopes = COUNCILS

    def stream(self, pk: UUID) -> CouncilSession:
        return selectors.session_for(self.user, pk)


class SplitView(ApiView):
    """POST /api/council-sessions/{id}/candidates/split"""

    scopes = COUNCILS

    @extend_schema(request=s.SplitIn, responses=s.SessionOut)
    def post(self, request: Request, pk: UUID) -> Response:
        selectors.session_for(self.user, pk)
        session = merges.split(self.user, pk, self.validated(s.SplitIn)["candidate"])
        return self.single(selectors.session_detail(session), session.version)


class TemplateView(ApiView):
    """GET /api/council-sessions/{id}/template"""

    scopes = COUNCILS

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(serial.template_version(selectors.template_of(self.user, pk)))


class RecountView(ApiView):
    """GET /api/council-sessions/{id}/recount"""

    scopes = COUNCILS

    @extend_schema(
        responses=s.RecountOut,
        parameters=[OpenApiParameter("rule", enum=[rule.value for rule in Rule])],
        description="What was decided, computed again from the stored ballots; 409 (`no_decision`) before there is one.",
        extensions={"x-errors": ["409"]},
    )
    def get(self, request: Request, pk: UUID) -> Response:
        session = selectors.session_for(self.user, pk)
        return Response(recount(session, rule_named(request.query_params.get("rule"))))


class EffectiveVotesView(ApiView):
    """GET /api/council-sessions/{id}/effective-votes"""

    scopes = COUNCILS

    @extend_schema(responses=s.EffectiveVotesOut)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(effective.for_owner(self.user, selectors.session_for(self.user, pk)))
