from __future__ import annotations

from accounts import keys
from accounts.api.counting import wait_for_stream
from accounts.api.urls import route
from council.api import branches, exports, people, views
from council.consumers import CouncilSessions
from council.me import MyStreams
from realtime.sse import stream_view

stream = stream_view(CouncilSessions(), keys=keys, wait=wait_for_stream)

my_stream = stream_view(MyStreams(), keys=keys, wait=wait_for_stream)

urlpatterns = [
    *route("me/stream", my_stream, "me-stream"),
    *route("council-sessions", views.SessionListView, "session-list"),
    *route("council-sessions/<uuid:pk>", views.SessionView, "session"),
    *route("council-sessions/<uuid:pk>/start", views.StartView, "session-start"),
    *route("council-sessions/<uuid:pk>/stop", views.StopView, "session-stop"),
    *route("council-sessions/<uuid:pk>/pause", views.PauseView, "session-pause"),
    *route("council-sessions/<uuid:pk>/resume", views.ResumeView, "session-resume"),
    *route("council-sessions/<uuid:pk>/message", views.MessageView, "session-message"),
    *route("council-sessions/<uuid:pk>/fork", branches.CouncilForkView, "session-fork"),
    *route("council-sessions/<uuid:pk>/reconsider", branches.ReconsiderView, "session-reconsider"),
    *route("council-sessions/<uuid:pk>/seats/<uuid:seat>/ask", branches.AskSeatView, "session-seat-ask"),
    *route("council-sessions/<uuid:pk>/events", views.EventsView, "session-events"),
    *route("council-sessions/<uuid:pk>/stream", stream, "session-stream"),
    *route("council-sessions/<uuid:pk>/turns", people.TurnListView, "session-turns"),
    *route("council-sessions/<uuid:pk>/turns/<uuid:turn_id>", people.TurnView, "session-turn"),
    *route("council-sessions/<uuid:pk>/gate", people.GateView, "session-gate"),
    *route("council-sessions/<uuid:pk>/recount", views.RecountView, "session-recount"),
    *route("council-sessions/<uuid:pk>/effective-votes", views.EffectiveVotesView, "session-effective-votes"),
    *route("council-sessions/<uuid:pk>/claims", exports.ClaimsView, "session-claims"),
    *route("council-sessions/<uuid:pk>/export", exports.ExportView, "session-export"),
    *route("council-sessions/export-schema", exports.ExportSchemaView, "session-export-schema"),
    *route("council-sessions/<uuid:pk>/candidates/split", views.SplitView, "session-candidates-split"),
    *route("council-sessions/<uuid:pk>/template", views.TemplateView, "session-template"),
]
