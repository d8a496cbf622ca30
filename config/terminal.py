"""A council in the terminal: what ``manage.py demo`` prints. Talks to a running Quorum as any program does, over HTTP and a socket."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import httpx2

from clients.quorum_live import Event, LiveStream

Json = dict[str, Any]
Say = Callable[[str], None]
WIDTH = 100
ENDS = {"session.completed", "session.stopped", "session.failed"}


class CouncilFailed(Exception):
    """The council ended without a decision; the message says why."""


class Client:
    """The few calls that the demo needs."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url.rstrip("/"), key
        self.http = httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        response = self.http.request(method, path, json=body)
        answer: Json = response.json()
        if response.status_code >= 400:
            raise CouncilFailed(f"{method} {path}: {answer.get('detail') or answer.get('title')}")
        return answer

    def watch(self, session: str, timeout: float) -> Iterator[Event]:
        """The session's events, from its first to the end of its run. Raises ``CouncilFailed`` when nothing comes for ``timeout``
        seconds."""
        news = LiveStream(f"{self.url}/ws/council-sessions/{session}", key=self.key, last_seq=0).follow()
        with asyncio.Runner() as loop:
            try:
                while True:
                    try:
                        one = loop.run(asyncio.wait_for(anext(news), timeout))
                    except TimeoutError as error:
                        raise CouncilFailed(f"nothing was heard of the council for {timeout:.0f} s") from error
                    if isinstance(one, Event):
                        yield one
                        if one.type in ENDS:
                            return
            finally:
                loop.run(news.aclose())


class Narrator:
    """Prints a council as it happens."""

    def __init__(self, session: Json, say: Say) -> None:
        self.names = {seat["id"]: seat["name"] for seat in session["agents"]}
        self.say = say
        self.candidates: dict[str, str] = {}

    def tell(self, event: Event) -> None:
        handler = getattr(self, "_" + event.type.replace(".", "_"), None)
        if handler is not None:
            handler(event.data)

    def _round_started(self, data: Json) -> None:
        self.say(f"\n── {data['stage']} " + "─" * 40)

    def _turn_completed(self, data: Json) -> None:
        name = self.names.get(data["seat"] or "", "")
        result = data["result"] or {}
        if data["kind"] == "answer" and not result:
            self.say(f"  {name} has answered; where a person sits, answers stay sealed until the round closes")
        elif data["kind"] == "answer":
            answer = result["answer"]
            choice = f"  → {answer['option']}" if answer["option"] else ""
            self._block(f"{name}{choice} (confidence {answer['confidence']:.0%})", answer["answer"])
        elif data["kind"] == "ballot":
            self.say(f"  {name} has voted")

    def _turn_failed(self, data: Json) -> None:
        self.say(f"  {self.names.get(data['seat'] or '', 'the count')} failed: {data['error']}")

    def _turn_retrying(self, data: Json) -> None:
        self.say(
            f"  {self.names.get(data['seat'] or '', 'the count')} is asked again ({data['error'] or 'interrupted'})"
        )

    def _tally_computed(self, data: Json) -> None:
        tally = data["tally"]
        self.candidates |= {one["id"]: one["option"] or one["text"] for one in tally["candidates"]}
        title = "Opening tally" if data["stage"] == "opening" else "Tally"
        self.say(f"\n  {title} ({tally['voters']} voters, agreement {tally['agreement']['modal_share']:.0%})")
        for one in tally["candidates"]:
            held = ", ".join(self.names[seat] for seat in one["seats"]) or "nobody"
            self.say(f"    {_short(one['option'] or one['text'])}: held by {held}")

    def _round_closed(self, data: Json) -> None:
        for turn in data.get("turns", ()):
            if turn["result"]:
                self._turn_completed(turn)
        for ballot in data["ballots"]:
            order = " > ".join(_short(self.candidates.get(one, one), 34) for one in ballot["ranking"])
            self.say(f"    ballot of {self.names[ballot['seat']]}: {order or 'abstained'}")

    def _decision_reached(self, data: Json) -> None:
        decision = data["decision"]
        self.say("\n" + "═" * WIDTH)
        for note in decision["notes"]:
            self.say(f"NOTE  {note}")
        self.say(f"DECISION ({decision['outcome']}): {decision['option'] or ''}".rstrip(" :"))
        self._block("", decision["answer"])
        self._votes(decision)
        self._citations(decision["citations"])
        self._dissent(decision["dissent"])

    def _votes(self, decision: Json) -> None:
        self.say("\nVotes")
        for rule, result in decision["rules"].items():
            winners = ", ".join(_short(self.candidates.get(one, one), 40) for one in result["winners"]) or "nobody"
            self.say(f"  {rule:<10} {winners}")
        margin = "more than 2 ballots" if decision["margin"] is None else f"{decision['margin']} ballot(s)"
        close = "; too close to call" if decision["too_close"] else ""
        agreement = decision["agreement"]
        self.say(f"  decided by {decision['decided_by'] or 'nobody'}, margin {margin}{close}")
        self.say(f"  agreement {_share(agreement['opening'])} at the opening, {_share(agreement['final'])} at the end")

    def _citations(self, citations: list[Json]) -> None:
        self.say("\nCitations")
        for one in citations:
            self.say(f"  [{one['n']}] {one['status']:<11} {one['title'] or '(no such evidence)'}")
            if one["quote"]:
                self._block("", f"“{one['quote']}”", indent="        ")
        if not citations:
            self.say("  none")

    def _dissent(self, dissent: list[Json]) -> None:
        self.say("\nDissent" if dissent else "\nDissent: none")
        for one in dissent:
            self._block(f"{one['name']}" + (f" → {one['option']}" if one["option"] else ""), one["text"])

    def _block(self, title: str, text: str, indent: str = "    ") -> None:
        if title:
            self.say(f"  {title}")
        self.say(textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent))


def _short(text: str, width: int = 60) -> str:
    return textwrap.shorten(text, width, placeholder="…")


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0%}"


def hold_council(client: Client, template: str, say: Say, *, timeout: float = 300) -> Json:
    """Convene the template's council, print it live and return the finished session. ``timeout``: seconds without any news."""
    found = client.call("POST", "/api/council-sessions", {"template": template, "question": _question(template)})
    say(f"Question: {found['question']}")
    for option in found["options"]:
        say(f"  • {option}")
    narrator = Narrator(found, say)
    client.call("POST", f"/api/council-sessions/{found['id']}/start")
    for event in client.watch(found["id"], timeout):
        narrator.tell(event)
    session = client.call("GET", f"/api/council-sessions/{found['id']}")
    if session["decision"] is None:
        raise CouncilFailed(f"the council {session['status']} without a decision")
    return session


def _question(template: str) -> str:
    from council.demo.loader import load_templates

    return next(one.question for one in load_templates() if one.slug == template)
