"""Councils: convene one, watch it, talk to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import User
from council import selectors, services
from council.claims_table import claims_of
from council.export.minutes import claim_row, evidence_of
from council.models import CouncilSession
from council.pages import branches, wording
from council.pages.common import EXPECTED, blame, both, count_write, person, reading, show, writing
from council.pages.forms import CouncilForm, MessageForm, TemplatePicker, filled_from
from council.pages.people import desks
from council.pages.showing import view
from council.states import FINISHED
from realtime.errors import QuorumError

# A plan's fields by the first step of a pointer; what people did not fill in themselves is reported on top.
PLAN_FIELDS = {"protocol": "preset", "agents": "template"}


# --- Convening --------------------------------------------------------------------------------------------------------


@both
def new(request: HttpRequest) -> HttpResponse:
    """The form, filled in from ``?template=``; ``?question=`` wins over the template's."""
    user = person(request)
    form = CouncilForm(user, request.POST) if request.method == "POST" else CouncilForm(user, initial=_initial(request))
    if form.is_bound and form.is_valid():
        session = _create(request, form)
        if session is not None:
            return redirect("pages:council", session.pk)
    chosen = form["template"].value() or ""
    picker = TemplatePicker(user, initial={"template": chosen})
    context = {"form": form, "picker": picker, "template": _template(user, chosen)}
    return show(request, "pages/council_new.html", context, fragment="pages/councils/_plan.html")


def _initial(request: HttpRequest) -> dict[str, Any]:
    user, question = person(request), request.GET.get("question", "").strip()
    template = _template(user, request.GET.get("template", ""))
    initial = filled_from(template, user) if template else {}
    return initial | ({"question": question} if question else {})


def _template(user: User, slug: str) -> Any:
    return selectors.templates_for(user).filter(slug=slug).first() if slug else None


def _create(request: HttpRequest, form: CouncilForm) -> CouncilSession | None:
    """The new session, started when the button says so. It stays a draft when only the start fails."""
    user = person(request)
    try:
        count_write(request)
        session = services.create_session(user, form.plan())
    except EXPECTED as error:
        blame(form, error, PLAN_FIELDS)
        return None
    if request.POST.get("then") != "keep":
        _begin(request, session.pk)
    return session


def _begin(request: HttpRequest, session_id: UUID) -> bool:
    try:
        count_write(request, "start")
        services.start(person(request), session_id)
    except EXPECTED as error:
        messages.error(request, f"The council was not started: {error.detail or error.code}")
        return False
    return True


# --- Watching ---------------------------------------------------------------------------------------------------------


@reading
def council(request: HttpRequest, session_id: UUID) -> HttpResponse:
    session = selectors.session_for(person(request), session_id)
    return show(request, "pages/council.html", _context(session, MessageForm(), person(request)))


@reading
def claims(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Who asserts what in the latest run; ``run`` names an earlier one."""
    session = selectors.session_for(person(request), session_id)
    wanted = request.GET.get("run", "")
    found = claims_of(session, int(wanted) if re.fullmatch(r"[0-9]{1,4}", wanted) else None)
    rows = [{**claim_row(claim), "checks": evidence_of(claim)} for claim in found["claims"]]
    return show(request, "pages/claims.html", {"session": session, "run": found["run"], "claims": rows})


def _context(session: CouncilSession, form: MessageForm, user: User) -> dict[str, Any]:
    snapshot = selectors.session_snapshot(session.pk)
    reason = snapshot["session"]["reason"]
    finished = session.status in FINISHED
    said = (one for one in snapshot["messages"] if one["seat"] is None)
    news = finished and any(one["created_at"] > snapshot["session"]["finished_at"] for one in said)
    return {
        "session": session,
        "view": view(snapshot, reason),
        "reason": reason,
        "form": form,
        "desks": desks(user, session.pk),
        "finished": finished,
        "news": news,
        "wording": wording.tables(),
        "branch": branches.context(session),
    }


# --- Acting -----------------------------------------------------------------------------------------------------------


@writing
def start(request: HttpRequest, session_id: UUID) -> HttpResponse:
    return _act(request, session_id, services.start, "start")


@writing
def pause(request: HttpRequest, session_id: UUID) -> HttpResponse:
    return _act(request, session_id, services.pause, "write")


@writing
def resume(request: HttpRequest, session_id: UUID) -> HttpResponse:
    return _act(request, session_id, services.resume, "write")


@writing
def stop(request: HttpRequest, session_id: UUID) -> HttpResponse:
    return _act(request, session_id, services.stop, "write")


def _act(request: HttpRequest, session_id: UUID, action: Callable[[User, UUID], object], policy: str) -> HttpResponse:
    """Do it; what came of it arrives through the socket, so htmx is told nothing but a refusal."""
    selectors.session_for(person(request), session_id)
    problem = ""
    try:
        count_write(request, policy)
        action(person(request), session_id)
    except EXPECTED as error:
        problem = _words(error)
    if request.headers.get("HX-Request") == "true":
        return show(request, "", {"problem": problem}, "pages/councils/_problem.html")
    if problem:
        messages.error(request, problem)
    return redirect("pages:council", session_id)


@writing
def message(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Post a message; ``then=start`` opens the follow-up at once."""
    session = selectors.session_for(person(request), session_id)
    form = MessageForm(request.POST)
    if form.is_valid():
        try:
            count_write(request)
            services.post_message(person(request), session_id, **form.cleaned_data)
            if request.POST.get("then") == "start":
                count_write(request, "start")
                services.start(person(request), session_id)
        except EXPECTED as error:
            blame(form, error)
        else:
            form = MessageForm()
            if request.headers.get("HX-Request") != "true":
                return redirect("pages:council", session_id)
    return show(
        request,
        "pages/council.html",
        _context(_again(session), form, person(request)),
        "pages/councils/_message_form.html",
    )


def _again(session: CouncilSession) -> CouncilSession:
    session.refresh_from_db()
    return session


def _words(error: QuorumError) -> str:
    return error.detail or error.code
