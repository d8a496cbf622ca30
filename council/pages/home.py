"""The first page: what one has, and the way to a new council."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from council.pages import wording
from council.pages.common import person, reading, show
from council.selectors import listed_sessions
from knowledge.selectors import packs_for

LISTED = 20


@reading
def home(request: HttpRequest) -> HttpResponse:
    user = person(request)
    sessions = listed_sessions(user).order_by("-created_at", "-id")[: LISTED + 1]
    councils = [{"session": session, "badge": wording.STATUS[session.status]} for session in sessions]
    context = {
        "packs": packs_for(user).order_by("-updated_at", "-id"),
        "councils": councils[:LISTED],
        "more": len(councils) > LISTED,
    }
    return show(request, "pages/home.html", context)
