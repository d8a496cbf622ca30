"""The page's forms for people: what waits for them, and what they say for a seat or at the gate."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import User
from council import people, selectors, serial
from council.deliberation import prompts
from council.deliberation.types import TurnContext, TurnKind
from council.models import Turn
from council.pages import wording
from council.pages.common import EXPECTED, blame, count_write, person, reading, show, writing
from council.pages.person_forms import FIELDS, FORMS, GateForm
from council.state import load
from council.steps import gate_json
from realtime.errors import IllegalState, InvalidInput, NotFound, QuorumError

Json = dict[str, Any]
WAITING = "pages/councils/_waiting.html"
HEADING = {
    TurnKind.ANSWER: "Your answer is awaited",
    TurnKind.BALLOT: "Your ballot is awaited",
    TurnKind.DISSENT: "You disagree with the outcome: your minority report",
    TurnKind.ATTACK: "Make the case against the leading answer",
    TurnKind.RATIFY: "Your verdict on the text is awaited",
}


def desks(user: User, session_id: UUID, bound: dict[UUID, forms.BaseForm] | None = None) -> list[Json]:
    """What waits for this person, each with its form; ``bound`` are forms that were sent and came back with faults."""
    filled = bound or {}
    return [desk for turn in people.waiting(user, session_id) if (desk := _desk(turn, filled.get(turn.pk)))]


def _desk(turn: Turn, form: forms.BaseForm | None) -> Json | None:
    shared = {"turn": turn, "until": wording.minute(serial.when(turn.deadline_at))}
    if turn.kind == TurnKind.GATE:
        return {**shared, "form": form or GateForm(auto_id=_ids(turn)), "gate": gate_json(load(turn.round.run_id))}
    try:
        context = people.open_sheet(turn).assignment.context
    except IllegalState:
        return None  # it ended between the list and here
    made = form or FORMS[context.kind](context, auto_id=_ids(turn))
    return {**shared, "heading": HEADING[context.kind], "form": made, "shown": _shown(context)}


def _ids(turn: Turn) -> str:
    """Two seats may be one person's: their fields need names of their own."""
    return f"id_{turn.pk.hex}_%s"


def _shown(context: TurnContext) -> Json:
    letters = prompts.addressees(context)
    labels = [f"Answer {letter}" for letter in letters] or ["Another answer"] * len(context.others)
    outcome = "The leading answer" if context.kind is TurnKind.ATTACK else "The council's outcome"
    texts = [(label, text) for label, text in zip(labels, context.others, strict=True)]
    texts += [("The case against the leading answer", context.attack)] if context.attack else []
    texts += [("A reply to your question", text) for text in context.replied]
    texts += [(outcome, context.winner.text)] if context.winner else []
    texts += [("The decision as written", context.draft)] if context.draft else []
    spread = prompts.spread(context.distribution, context.scale) if context.distribution and context.scale else ""
    return {
        "role": context.role,
        "instructions": context.instructions,
        "texts": [{"label": label, "text": text} for label, text in texts],
        "spread": spread,
        "evidence": context.evidence,
    }


# --- views ------------------------------------------------------------------------------------------------------------


@reading
def waiting(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The forms alone."""
    session = selectors.session_for(person(request), session_id)
    return show(request, WAITING, {"session": session, "desks": desks(person(request), session_id)})


@writing
def reply(request: HttpRequest, session_id: UUID, turn_id: UUID) -> HttpResponse:
    user = person(request)
    turn = people.person_turn(user, session_id, turn_id)
    if turn.kind == TurnKind.GATE:
        raise NotFound("The gate has a form of its own.")
    form: Any = None
    try:
        context = people.open_sheet(turn).assignment.context
        form = FORMS[context.kind](context, request.POST, auto_id=_ids(turn))
        if form.is_valid():
            count_write(request)
            people.reply(user, session_id, turn_id, form.reply())
            return _done(request, session_id)
    except InvalidInput as error:
        blame(form, error, _fields(form))
    except EXPECTED as error:
        return _refused(request, session_id, error)
    return _again(request, session_id, turn_id, form)


def _fields(form: forms.BaseForm) -> dict[str, Any]:
    return {step: field for step, field in FIELDS.items() if field is None or field in form.fields}


@writing
def gate(request: HttpRequest, session_id: UUID) -> HttpResponse:
    user = person(request)
    selectors.session_for(user, session_id)
    form = GateForm(request.POST)
    decision = request.POST.get("decision", "")
    try:
        if form.is_valid() and decision in people.GATE_SCHEMA["properties"]["decision"]["enum"]:
            count_write(request)
            people.decide_gate(user, session_id, decision=decision, note=form.cleaned_data["note"])
            return _done(request, session_id)
        turn = people.open_gate(user, session_id)
    except EXPECTED as error:
        return _refused(request, session_id, error)
    return _again(request, session_id, turn.pk, form)


def _done(request: HttpRequest, session_id: UUID) -> HttpResponse:
    if request.headers.get("HX-Request") != "true":
        return redirect("pages:council", session_id)
    return _forms(request, session_id, {})


def _refused(request: HttpRequest, session_id: UUID, error: QuorumError) -> HttpResponse:
    """What it was for is over, or cannot be now."""
    problem = error.detail or error.code
    if request.headers.get("HX-Request") != "true":
        messages.error(request, problem)
        return redirect("pages:council", session_id)
    return _forms(request, session_id, {}, problem)


def _again(request: HttpRequest, session_id: UUID, turn_id: UUID, form: forms.BaseForm) -> HttpResponse:
    """With what was typed, and what is wrong with it."""
    response = _forms(request, session_id, {turn_id: form})
    response.status_code = 400
    return response


def _forms(
    request: HttpRequest, session_id: UUID, bound: dict[UUID, forms.BaseForm], problem: str = ""
) -> HttpResponse:
    session = selectors.session_for(person(request), session_id)
    context = {"session": session, "desks": desks(person(request), session_id, bound), "problem": problem}
    if request.headers.get("HX-Request") == "true":
        return show(request, WAITING, context)
    return show(request, "pages/waiting.html", context)
