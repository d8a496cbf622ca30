"""What people do to councils. One mutation, one function; the API, the admin, the console and the demo call these.

Transitions that models bring about (a turn's end, a count, a conclusion) are the orchestrator's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit, quotas
from accounts.models import User
from council import asides, budgets, carrying, claims, events, news, orchestrator, steps, turns, validation
from council.defaults import DEFAULT_AGENTS, Agent, with_chair
from council.deliberation.types import Protocol
from council.endpoints import check_models
from council.models import Budget, CouncilSession, CouncilTemplate, Message, Run, Seat, SessionPack, Turn
from council.selectors import session_for, templates_for
from council.state import protocol_of
from council.states import FINISHED, OPEN_RUNS, RunStatus, SessionStatus
from council.templates import keep_version
from knowledge.models import KnowledgePack, Snapshot
from realtime import log
from realtime.errors import Conflict, IllegalState, InvalidInput, NotFound

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new session consists of. Missing parts come from the template, then from the defaults."""

    question: str
    title: str = ""
    options: Sequence[str] | None = None
    packs: Sequence[UUID] | None = None
    pins: Mapping[UUID, str] = field(default_factory=dict)  # of packs, the label or id of the snapshot to read
    template: str | None = None
    agents: Sequence[Agent] | None = None
    protocol: Mapping[str, object] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)  # limits by name: tokens, usd, calls, seconds
    forked_from: Mapping[str, Any] | None = None  # forks.fork
    excluded_entries: Sequence[str] = ()


def create_session(owner: User, plan: Plan) -> CouncilSession:
    """A draft with its seats. Raises ``InvalidInput`` with a pointer for each fault."""
    template = _template(owner, plan.template)
    agents = plan.agents if plan.agents is not None else (template.agents if template else DEFAULT_AGENTS)
    seats = with_chair([Agent(**agent) for agent in agents])
    validation.check_agents(seats)
    options = list(plan.options if plan.options is not None else (template.options if template else ()))
    validation.check_options(options)
    settings = {**(template.protocol if template else {}), **plan.protocol}
    protocol = validation.resolve_protocol(settings, seats, options)
    validation.check_budget(plan.budget, seats)
    packs = validation.visible_packs(owner, plan.packs) if plan.packs is not None else _template_packs(owner, template)
    snapshots = validation.pinned_snapshots(packs, plan.packs or (), plan.pins)
    with transaction.atomic():
        session = CouncilSession.objects.create(
            owner=owner,
            title=plan.title or _title_of(plan.question),
            question=plan.question,
            options=options,
            protocol=protocol.model_dump(mode="json"),
            template=template,
            template_version=template.version if template else None,
            template_ran=keep_version(template) if template else None,
            forked_from=plan.forked_from,
            excluded_entries=list(plan.excluded_entries),
        )
        session.packs.set(packs)
        _pin(session, snapshots)
        Budget.objects.create(session=session, **{f"{name}_limit": limit for name, limit in plan.budget.items()})
        _seat(session, seats)
        log.append(session, events.session_created(session))
        news.session_changed(session, "created")
        audit.record("council.created", session, packs=[str(pack.pk) for pack in packs])
    return session_for(owner, session.pk)


def _template(owner: User, wanted: str | None) -> CouncilTemplate | None:
    if wanted is None:
        return None
    visible = templates_for(owner)
    found = visible.filter(slug=wanted).first()
    if found is None and validation.is_uuid(wanted):
        found = visible.filter(pk=wanted).first()
    if found is None:
        raise InvalidInput(
            "There is no such template.", errors=[{"pointer": "/template", "detail": "Unknown template."}]
        )
    return found


def _template_packs(owner: User, template: CouncilTemplate | None) -> list[KnowledgePack]:
    """The template's packs, as far as this user may read them."""
    if template is None:
        return []
    return validation.readable_packs(owner, list(template.packs.values_list("pk", flat=True)))


def _pin(session: CouncilSession, snapshots: Mapping[UUID, Snapshot]) -> None:
    """Have the session read these packs as their snapshots have them, and its other packs as they are."""
    pins = SessionPack.objects.filter(councilsession=session)
    pins.exclude(knowledgepack__in=snapshots).update(snapshot=None)
    for pack, snapshot in snapshots.items():
        # Held until the commit, so that it cannot be deleted between being found and being pinned.
        if not Snapshot.objects.select_for_update(no_key=True).filter(pk=snapshot.pk).exists():
            raise Conflict(f"The snapshot {snapshot.label!r} was deleted meanwhile.", code="snapshot_deleted")
        pins.filter(knowledgepack=pack).update(snapshot=snapshot)


def _title_of(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= 80 else f"{line[:79].rsplit(' ', 1)[0]}…"


def _seat(session: CouncilSession, agents: Sequence[Agent]) -> None:
    Seat.objects.bulk_create(
        Seat(
            session=session,
            position=position,
            name=agent["name"],
            role=agent.get("role", ""),
            instructions=agent.get("instructions", ""),
            model=agent.get("model", ""),
            chair=agent.get("chair", False),
        )
        for position, agent in enumerate(agents)
    )


def update_session(
    user: User, session_id: UUID, changes: Mapping[str, Any], check_version: Callable[[int], None]
) -> CouncilSession:
    """Change a session: its title and budget at any time, everything else only while it is a draft.

    ``changes`` may hold title, question, options, packs (with pins), agents, protocol (overrides) and budget (the limits that change).
    ``check_version`` is called with the current version under the row's lock and refuses a stale writer.
    """
    with transaction.atomic():
        session = claims.lock_owned(user, session_id)
        check_version(session.version)
        if not changes:
            return session_for(user, session_id)
        if set(changes) - {"title", "budget"}:
            _require(session, (SessionStatus.DRAFT,), "changed except for its title and its budget")
            if session.forked_from and session.forked_from["after_round"]:
                raise IllegalState(
                    "This fork keeps rounds of another council, so only its title and its budget can be changed.",
                    code="fork_keeps_rounds",
                )
        _apply_changes(user, session, changes)
        session.version += 1
        session.save()
        fresh = session_for(user, session_id)
        log.append(fresh, events.session_updated(fresh))
        if "title" in changes:
            news.session_changed(fresh, "updated")
        audit.record("council.changed", fresh, fields=sorted(changes))
    return session_for(user, session_id)


def _apply_changes(user: User, session: CouncilSession, changes: Mapping[str, Any]) -> None:
    if "options" in changes:
        validation.check_options(changes["options"])
    for name in ("title", "question", "options"):
        if name in changes:
            setattr(session, name, changes[name])
    if "packs" in changes:
        packs = validation.visible_packs(user, changes["packs"])
        snapshots = validation.pinned_snapshots(packs, changes["packs"], changes.get("pins", {}))
        session.packs.set(packs)
        _pin(session, snapshots)
    if "agents" in changes:
        seats = with_chair(list(changes["agents"]))
        validation.check_agents(seats)
        session.seats.all().delete()
        _seat(session, seats)
    if {"protocol", "agents", "options"} & set(changes):
        seats = [Agent(name=seat.name, chair=seat.chair) for seat in session.seats.all()]
        settings = validation.merge_protocol(session.protocol, changes.get("protocol", {}))
        session.protocol = validation.resolve_protocol(settings, seats, session.options).model_dump(mode="json")
    if "budget" in changes or "agents" in changes:
        usd = Budget.objects.values_list("usd_limit", flat=True).get(session=session)
        models = [Agent(model=seat.model) for seat in session.seats.all()]
        validation.check_budget({"usd": usd, **changes.get("budget", {})}, models)
        budgets.set_limits(session.pk, changes.get("budget", {}))


def start(user: User, session_id: UUID) -> CouncilSession:
    """Begin the first run of a draft, or a follow-up run of a finished session that has new messages."""
    with transaction.atomic(), log.gathering():
        session = claims.lock_owned(user, session_id)
        _require(session, (SessionStatus.DRAFT, *FINISHED), "started")
        check_models(session.seats.values_list("model", flat=True))  # say so now instead of failing every turn
        news = Message.objects.filter(session=session, delivered_in=None).exists()
        if session.status != SessionStatus.DRAFT and not news:
            raise IllegalState("The council has concluded. Send it a message first; a start then opens a follow-up.")
        run = open_run(session, Protocol.model_validate(session.protocol))
        if run.number == 1 and session.forked_from and session.forked_from["after_round"]:
            carrying.fork_into(session, run)
        audit.record("council.started", session, run=run.number)
        orchestrator.advance(session, run)
    return session_for(user, session_id)


def open_run(session: CouncilSession, protocol: Protocol, origin: Json | None = None) -> Run:
    """A new run without rounds, which its session mirrors. Under the session's lock, with its events gathered; the caller advances it.
    Raises ``QuotaExceeded``."""
    now = timezone.now()
    run = Run.objects.create(
        session=session,
        number=session.runs.count() + 1,
        protocol=protocol.model_dump(mode="json"),
        seed=secrets.randbits(62),
        origin=origin,
        started_at=now,
        deadline_at=now + timedelta(seconds=protocol.run_deadline_s),
    )
    session.status, session.reason, session.finished_at = SessionStatus.RUNNING, "", None
    session.started_at = session.started_at or run.started_at
    session.version += 1
    session.round = 0
    session.save(update_fields=["status", "reason", "started_at", "finished_at", "version", "round"])
    quotas.require(session.owner_id, councils_running=1, councils_day=1)
    quotas.require_left(session.owner_id, *quotas.SPENT)
    log.append(session, events.session_moved(session, "started", run=run.number))
    news.session_changed(session, "started")
    return run


def stop(user: User, session_id: UUID) -> CouncilSession:
    """End the run now, and whatever seats are replying to people, also where the run has ended. Open turns are cancelled in this
    transaction; their workers close the model calls within a heartbeat."""
    with transaction.atomic():
        session = claims.lock_owned(user, session_id)
        if asides.cancel_open(session) and session.status in FINISHED:
            audit.record("council.stopped", session)
            return session_for(user, session_id)
        _require(session, (SessionStatus.RUNNING, SessionStatus.PAUSED), "stopped")
        run = Run.objects.select_for_update(no_key=True).get(session=session, status__in=OPEN_RUNS)
        steps.stop(session, run, "stopped by its user")
        audit.record("council.stopped", session, run=run.number)
    return session_for(user, session_id)


def pause(user: User, session_id: UUID) -> CouncilSession:
    """Ask nothing new until it is resumed. Seats that are at work finish what they are at; time does not run meanwhile."""
    with transaction.atomic():
        session = claims.lock_owned(user, session_id)
        _require(session, (SessionStatus.RUNNING,), "paused")
        _move(session, RunStatus.PAUSED, paused_at=timezone.now())
        log.append(session, events.session_moved(session, "paused"))
        news.session_changed(session, "paused")
        audit.record("council.paused", session)
    return session_for(user, session_id)


def resume(user: User, session_id: UUID) -> CouncilSession:
    """Go on after a pause. Deadlines, people's too, are later by what it lasted."""
    with transaction.atomic(), log.gathering():
        session = claims.lock_owned(user, session_id)
        _require(session, (SessionStatus.PAUSED,), "resumed")
        run = _move(session, RunStatus.RUNNING, paused_at=None)
        log.append(session, events.session_moved(session, "resumed"))
        news.session_changed(session, "resumed")
        audit.record("council.resumed", session)
        orchestrator.resume(session, run)
    return session_for(user, session_id)


def _move(session: CouncilSession, status: RunStatus, *, paused_at: datetime | None) -> Run:
    """The open run and its session into or out of a pause. Under the session's lock."""
    run = Run.objects.select_for_update(no_key=True).get(session=session, status__in=OPEN_RUNS)
    if run.paused_at is not None:
        turns.postpone(run, timezone.now() - run.paused_at)
    run.status, run.paused_at = status, paused_at
    run.save(update_fields=["status", "paused_at", "deadline_at"])
    session.status = SessionStatus(status)
    session.version += 1
    session.save(update_fields=["status", "version"])
    return run


def archive(user: User, session_id: UUID) -> CouncilSession:
    """Put away a draft or a finished council: lists leave it out, by id it stays readable. There is no way back."""
    with transaction.atomic():
        session = claims.lock_owned(user, session_id)
        _require(session, (SessionStatus.DRAFT, *FINISHED), "archived")
        steps.archive(session)
        audit.record("council.deleted", session)
    return session_for(user, session_id)


def retry_turn(user: User, session_id: UUID, turn_id: UUID) -> Turn:
    """Ask a failed turn again. Raises ``IllegalState`` with the reason when what followed from its failure cannot be undone."""
    with transaction.atomic():
        session = claims.lock_owned(user, session_id)
        _require(session, (SessionStatus.RUNNING,), "asked again")
        turn = Turn.objects.filter(pk=turn_id, session=session).first()
        if turn is None:
            raise NotFound("There is no such turn.")
        turn = claims.lock_turn(turn_id)
        if why_not := turns.final(turn):
            raise IllegalState(why_not)
        turns.again(session, turn)
    return turn


def post_message(user: User, session_id: UUID, *, content: str, kind: str = "note", interrupt: bool = False) -> Message:
    """Say something to the council: read at the next stage boundary, or at once with ``interrupt``."""
    with transaction.atomic():
        session = claims.lock_owned(user, session_id)
        if session.status == SessionStatus.ARCHIVED:
            raise IllegalState("An archived council takes no messages.")
        message = Message.objects.create(session=session, author=user, kind=kind, content=content, interrupt=interrupt)
        log.append(session, events.message_created(message))
        if interrupt and session.status == SessionStatus.RUNNING:
            _interrupt(session, message)
    return message


def _interrupt(session: CouncilSession, message: Message) -> None:
    """Deliver now: seats that are still at work in the open round are cancelled and asked again with the message before them."""
    run = Run.objects.get(session=session, status=RunStatus.RUNNING)
    round_ = run.rounds.filter(closed_at=None).first()
    if round_ is None:
        return
    message.delivered_in = round_
    message.save(update_fields=["delivered_in"])
    rows = Turn.objects.select_for_update(no_key=True, of=("self",)).select_related("round__run")
    for turn in rows.filter(round=round_, seat__isnull=False, status="running").order_by("id"):
        turn.deadline_at = timezone.now() + timedelta(seconds=protocol_of(run).turn_deadline_s)
        turn.save(update_fields=["deadline_at"])
        turns.release(session, turn)


def _require(session: CouncilSession, allowed: Sequence[str], what: str) -> None:
    if session.status not in allowed:
        raise IllegalState(f"A {session.status} council cannot be {what}.")
