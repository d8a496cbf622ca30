"""The plain pages. Paths are people's, so a trailing slash is forgiven as in the API."""

from __future__ import annotations

from django.urls import path

from accounts.api.urls import route
from council.pages import branches, councils, home, packs, people

app_name = "pages"
urlpatterns = [
    path("", home.home, name="home"),
    *route("packs/new", packs.new, "pack_new"),
    *route("packs/<uuid:pack_id>", packs.pack, "pack"),
    *route("packs/<uuid:pack_id>/entries", packs.entries, "entries"),
    *route("entries/<uuid:entry_id>", packs.entry, "entry"),
    *route("councils/new", councils.new, "council_new"),
    *route("councils/<uuid:session_id>", councils.council, "council"),
    *route("councils/<uuid:session_id>/claims", councils.claims, "council_claims"),
    *route("councils/<uuid:session_id>/start", councils.start, "council_start"),
    *route("councils/<uuid:session_id>/pause", councils.pause, "council_pause"),
    *route("councils/<uuid:session_id>/resume", councils.resume, "council_resume"),
    *route("councils/<uuid:session_id>/stop", councils.stop, "council_stop"),
    *route("councils/<uuid:session_id>/waiting", people.waiting, "council_waiting"),
    *route("councils/<uuid:session_id>/turns/<uuid:turn_id>", people.reply, "council_turn"),
    *route("councils/<uuid:session_id>/gate", people.gate, "council_gate"),
    *route("councils/<uuid:session_id>/message", councils.message, "council_message"),
    *route("councils/<uuid:session_id>/fork", branches.fork, "council_fork"),
    *route("councils/<uuid:session_id>/reconsider", branches.reconsider, "council_reconsider"),
    *route("councils/<uuid:session_id>/ask", branches.ask, "council_ask"),
]
