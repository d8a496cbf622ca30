"""Plain forms for what grows out of a council: a fork, a reconsideration, a question to one seat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from council import asides, reconsidering, selectors, stale
from council import forks as forking
from council.api.serializers import CONTENT_MAX
from council.deliberation.types import HUMAN
from council.models import CouncilSession
from council.pages.common import EXPECTED, count_write, person, writing
from council.selectors import latest_decision

Json = dict[str, Any]


class ForkForm(forms.Form):
    after_round = forms.IntegerField(
        min_value=0, max_value=100, initial=0, label="Keep rounds up to", help_text="0 begins anew with the same plan."
    )
    without_seat = forms.ChoiceField(required=False, label="Without")

    def __init__(self, session: CouncilSession, data: Any = None) -> None:
        super().__init__(data, auto_id="fork_%s")
        self.fields["without_seat"].choices = [("", "Everybody stays"), *_seats(session)]  # type: ignore[attr-defined]

    def wish(self) -> forking.Wish:
        gone = self.cleaned_data["without_seat"]
        return forking.Wish(
            after_round=self.cleaned_data["after_round"], changes={"without_seats": [gone]} if gone else {}
        )


class AskForm(forms.Form):
    seat = forms.ChoiceField(label="Seat")
    question = forms.CharField(max_length=CONTENT_MAX, widget=forms.Textarea(attrs={"rows": 2}), label="Question")

    def __init__(self, session: CouncilSession, data: Any = None) -> None:
        super().__init__(data, auto_id="ask_%s")
        voters = [seat for seat in session.seats.all() if not seat.chair and seat.model != HUMAN]
        self.fields["seat"].choices = [(str(seat.pk), seat.name) for seat in voters]  # type: ignore[attr-defined]


def _seats(session: CouncilSession) -> list[tuple[str, str]]:
    return [(str(seat.pk), seat.name) for seat in session.seats.all()]


def context(session: CouncilSession) -> Json:
    """For ``_branches.html`` and ``_origin.html``."""
    decision = latest_decision(session)
    cited = list(decision.citations.exclude(revision=None).select_related("revision")) if decision else []
    gone = stale.superseded(session.owner, {one.revision_id for one in cited if one.revision_id is not None})
    titles = {str(one.revision_id): one.revision.title for one in cited if one.revision}
    return {
        "fork": ForkForm(session),
        "ask": AskForm(session),
        "stale": [{"title": titles[old], "number": now.number} for old, now in gone.items()],
        "origin": session.forked_from,
    }


@writing
def fork(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """To the page of the new draft, where its start is."""
    session = selectors.session_for(person(request), session_id)
    made: list[CouncilSession] = []

    def act(form: forms.Form) -> None:
        if isinstance(form, ForkForm):
            count_write(request)
            made.append(forking.fork(person(request), session_id, form.wish()))

    _submit(request, ForkForm(session, request.POST), act)
    return redirect("pages:council", made[0].pk if made else session_id)


@writing
def ask(request: HttpRequest, session_id: UUID) -> HttpResponse:
    session = selectors.session_for(person(request), session_id)

    def act(form: forms.Form) -> None:
        count_write(request, "start")
        asides.ask(person(request), session_id, UUID(form.cleaned_data["seat"]), form.cleaned_data["question"])

    _submit(request, AskForm(session, request.POST), act)
    return redirect("pages:council", session_id)


@writing
def reconsider(request: HttpRequest, session_id: UUID) -> HttpResponse:
    selectors.session_for(person(request), session_id)

    def act(_form: forms.Form) -> None:
        count_write(request, "start")
        reconsidering.reconsider(person(request), session_id)

    _submit(request, forms.Form(request.POST), act)
    return redirect("pages:council", session_id)


def _submit(request: HttpRequest, form: forms.Form, act: Callable[[forms.Form], None]) -> None:
    """Do it; what is wrong with the form or the moment is said on the page that follows."""
    problems = [f"{form.fields[name].label}: {text}" for name, texts in form.errors.items() for text in texts]
    if not problems:
        try:
            act(form)
        except EXPECTED as error:
            problems = [error.detail or error.code]
    for problem in problems:
        messages.error(request, problem)
