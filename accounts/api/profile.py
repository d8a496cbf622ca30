"""Who is signed in, and where: ``/api/me`` and ``/api/me/sessions``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.sessions.backends.base import SessionBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import logins, second_factor, services
from accounts.api.account import LeaveIn, LeavingOut, leave
from accounts.api.authentication import session_of
from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.models import LoginSession, User
from accounts.scopes import PEOPLE, Scope, needs


class MeIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, allow_blank=True, help_text="What others see; empty: none.")


class MeOut(serializers.ModelSerializer[User]):
    scopes = serializers.SerializerMethodField(help_text="What the API key may do; null for a person who is signed in.")

    mfa = serializers.SerializerMethodField(help_text="Whether a second factor is asked for at sign-in.")

    class Meta:
        model = User
        fields = ("id", "email", "name", "is_staff", "mfa", "scopes")

    def get_mfa(self, user: User) -> bool:
        return second_factor.has_one(user)

    def get_scopes(self, user: User) -> list[str] | None:
        scopes = getattr(self.context["request"].auth, "scopes", None)
        return None if scopes is None else list(scopes)


class LoginOut(serializers.ModelSerializer[LoginSession]):
    device = serializers.SerializerMethodField(help_text='"Firefox on Linux", as far as the browser tells.')
    address = serializers.IPAddressField(source="ip", allow_null=True, help_text="Where it was used from last.")
    since = serializers.DateTimeField(source="created_at")
    last_seen = serializers.DateTimeField(source="last_seen_at", help_text="To the minute.")
    ends_at = serializers.DateTimeField(help_text="When it ends if nothing more is done with it.")
    current = serializers.SerializerMethodField(help_text="Whether it is the one that asks.")

    class Meta:
        model = LoginSession
        fields = ("id", "device", "user_agent", "address", "since", "last_seen", "ends_at", "current")

    def get_device(self, login: LoginSession) -> str:
        return logins.device(login.user_agent)

    def get_current(self, login: LoginSession) -> bool:
        return logins.is_current(login, session_of(self.context["request"]))


class EndedOut(serializers.Serializer[Any]):
    ended = serializers.IntegerField(help_text="How many other logins there were.")


class MeView(ApiView):
    """GET, PATCH, DELETE /api/me"""

    scopes = {**needs((), (Scope.ADMIN,)), "DELETE": None}

    @extend_schema(operation_id="me", responses=MeOut)
    def get(self, request: Request) -> Response:
        return Response(MeOut(self.user, context=self._context()).data)

    @extend_schema(
        operation_id="me_update",
        request=MeIn,
        responses=MeOut,
        description="The e-mail address is changed at `/_allauth/…/account/email`, where the new one is verified.",
    )
    def patch(self, request: Request) -> Response:
        changes = self.validated(MeIn, partial=True)
        return Response(MeOut(services.update_profile(self.user, changes), context=self._context()).data)

    @extend_schema(
        operation_id="me_delete",
        request=LeaveIn,
        responses={202: LeavingOut},
        description="Deletes the account. It asks for the password, or for having signed in within five minutes (403 "
        "`reauthentication_required`, `wrong_password`; 409 `last_superuser`). At once councils stop, keys and logins end; after "
        "`ACCOUNT_GRACE_DAYS` (7) everything goes for good, unless one signs in again or staff call it off. Not for API keys.",
    )
    def delete(self, request: Request) -> Response:
        return leave(self, request)


class PersonsView(ApiView):
    """For people alone: a key that was stolen must neither sign its owner out nor read where they are."""

    scopes = PEOPLE

    @property
    def session(self) -> SessionBase | None:
        return session_of(self.request)


class LoginsView(PersonsView):
    """GET, DELETE /api/me/sessions"""

    @extend_schema(
        operation_id="me_sessions_list",
        responses=LoginOut(many=True),
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("cursor", str)],
        description="Where one is signed in, newest first. Not for API keys.",
    )
    def get(self, request: Request) -> Response:
        return self.paginated(logins.of(self.user), LoginOut)

    @extend_schema(
        operation_id="me_sessions_end_others",
        responses={200: EndedOut},
        description="Ends every login but the one that asks, with their sockets and event streams. Not for API keys.",
    )
    def delete(self, request: Request) -> Response:
        return Response({"ended": logins.end_others(self.user, self.session)})


class LoginView(PersonsView):
    """DELETE /api/me/sessions/{id}"""

    @extend_schema(
        operation_id="me_session_end",
        request=None,
        responses={204: None},
        description="Ends one login, its sockets and its event streams; one's own as well. Not for API keys.",
    )
    def delete(self, request: Request, login_id: UUID) -> Response:
        logins.end(self.user, login_id)
        return Response(status=204)


urlpatterns = [
    *route("me", MeView, "me"),
    *route("me/sessions", LoginsView, "me-sessions"),
    *route("me/sessions/<uuid:login_id>", LoginView, "me-session"),
]
