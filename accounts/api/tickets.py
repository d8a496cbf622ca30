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
from accounts.scopes import ANY_KEY
from realtime import limits, tickets


class TicketOut(serializers.Serializer[Any]):
    ticket = serializers.CharField(help_text="Send it in the socket's hello; good once.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class TicketView(ApiView):
    """A single-use ticket for the socket of this user. It opens what its credential opens (a key's scopes), and for as long."""

    scopes = ANY_KEY

    @extend_schema(request=None, responses={201: TicketOut})
    def post(self, request: Request) -> Response:
        ticket = tickets.issue(self.user.pk, *self._credential(request))
        return Response({"ticket": ticket, "expires_in": limits.TICKET_S}, status=201)

    def _credential(self, request: Request) -> tuple[str | None, bytes | None]:
        """The login session, or the digest of the key's secret."""
        if self.key is not None:
            return None, self.key.shown
        session = session_of(request)
        return (session.session_key if session is not None else None), None


urlpatterns = route("tickets", TicketView, "ticket")
