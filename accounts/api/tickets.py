"""POST /api/tickets: how a page on another origin opens a socket."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import session_of
from accounts.api.urls import route
from accounts.api.views import ApiView
from realtime import limits, tickets


class TicketOut(serializers.Serializer[Any]):
    ticket = serializers.CharField(help_text="Send it in the socket's hello; good once.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class TicketView(ApiView):
    """A single-use ticket for the socket of this user."""

    @extend_schema(request=None, responses={201: TicketOut})
    def post(self, request: Request) -> Response:
        session = session_of(request)
        ticket = tickets.issue(self.user.pk, session.session_key if session is not None else None)
        return Response({"ticket": ticket, "expires_in": limits.TICKET_S}, status=201)


urlpatterns = route("tickets", TicketView, "ticket")
