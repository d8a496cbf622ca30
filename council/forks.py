"""Forks: the same council again, from any closed round on, with something changed. What if this seat were absent, or that entry withdrawn?

A fork is a session of its own. It says what it comes from (``forked_from``), what of it will stand and from which round on it is new;
its start copies that (``carrying``) and goes on by ``next_step``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts import audit
from accounts.models import User
from council import carrying, services, validation
from council.budgets import LIMITS
from council.defaults import Agent
from council.deliberation import carrying as pure
from council.deliberation.types import RunState
from council.models import CouncilSession, Run, Seat, Turn
from council.selectors import session_for
from council.services import Plan
from council.state import load
from knowledge.models import Entry
from realtime.errors import FieldError, InvalidInput

Json = dict[str, Any]
# What shapes every round from the first on, and so cannot be another one where rounds are kept.
FROM_THE_START = ("question", "options", "agents", "packs", "protocol")
EXCLUDED_MAX = 60  # a search asks for so many more hits


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants of a fork: rounds 1 to ``after_round`` of a run (the latest), and what is to be different."""

    run: int | None = None
    after_round: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)

    def ids(self, name: str) -> list[str]:
        return [str(one) for one in self.changes.get(name, ())]


def fork(user: User, session_id: UUID, wish: Wish) -> CouncilSession:
    """A draft that begins where the wish says. Raises ``InvalidInput`` with a pointer for each fault."""
    source = session_for(user, session_id)
    run = _run(source, wish)
    state = load(run.pk) if run is not None else None
    _check(source, run, state, wish)
    kept = pure.Kept()
    if run is not None and state is not None and wish.after_round:
        taints = carrying.tainted(run, wish.ids("without_entries"))
        kept = pure.keep(state, wish.after_round, wish.ids("without_seats"), taints)
    origin = _origin(source, run, wish, kept)
    plan = replace(_plan(user, source, run, wish), forked_from=origin, excluded_entries=_excluded(source, wish))
    try:
        with transaction.atomic():
            made = services.create_session(user, plan)
            audit.record("council.forked", source, copy=made.pk)
    except InvalidInput as error:
        raise InvalidInput(error.detail, code=error.code, errors=_repointed(error, wish)) from error
    return made


def _run(source: CouncilSession, wish: Wish) -> Run | None:
    runs = Run.objects.filter(session=source).order_by("-number")
    run = (runs if wish.run is None else runs.filter(number=wish.run)).first()
    if run is None and wish.run is not None:
        raise _fault("/run", "There is no such run.")
    return run


def _fault(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, errors=[{"pointer": pointer, "detail": detail}])


# --- what is wrong with a wish ----------------------------------------------------------------------------------------


def _check(source: CouncilSession, run: Run | None, state: RunState | None, wish: Wish) -> None:
    errors = [*_rounds(state, wish), *_seats(source, wish), *_entries(source, run, wish)]
    if wish.after_round:
        errors += [
            {"pointer": f"/changes/{name}", "detail": "Can be changed only when no round is kept (after_round 0)."}
            for name in FROM_THE_START
            if name in wish.changes
        ]
    if errors:
        raise InvalidInput(errors[0]["detail"], errors=errors)


def _rounds(state: RunState | None, wish: Wish) -> list[FieldError]:
    rounds = state.rounds if state is not None else ()
    if wish.after_round > len(rounds):
        return [{"pointer": "/after_round", "detail": f"The run has {len(rounds)} rounds."}]
    broken = next((one.number for one in rounds[: wish.after_round] if not pure.can_stand(one)), None)
    if broken is None:
        return []
    return [{"pointer": "/after_round", "detail": f"Round {broken} did not come to its end, so it cannot be kept."}]


def _seats(source: CouncilSession, wish: Wish) -> list[FieldError]:
    known = {str(seat) for seat in Seat.objects.filter(session=source).values_list("pk", flat=True)}
    gone = wish.ids("without_seats")
    errors: list[FieldError] = [
        {"pointer": f"/changes/without_seats/{place}", "detail": "There is no such seat at this table."}
        for place, seat in enumerate(gone)
        if seat not in known
    ]
    if gone and "agents" in wish.changes:
        errors.append({"pointer": "/changes/without_seats", "detail": "Leave these seats out of agents instead."})
    return errors


def _entries(source: CouncilSession, run: Run | None, wish: Wish) -> list[FieldError]:
    """An entry of the council's packs, or one that its seats were shown."""
    wanted = wish.ids("without_entries")
    if not wanted:
        return []
    packs = Q(pack__in=source.packs.all())
    known = {str(entry) for entry in Entry.objects.filter(packs, pk__in=wanted).values_list("pk", flat=True)}
    shown = Turn.objects.filter(round__run=run).values_list("evidence", flat=True) if run else []
    known |= {item["entry"] for evidence in shown for item in evidence}
    errors: list[FieldError] = [
        {"pointer": f"/changes/without_entries/{place}", "detail": "This council knows no such entry."}
        for place, entry in enumerate(wanted)
        if entry not in known
    ]
    if len({*source.excluded_entries, *wanted}) > EXCLUDED_MAX:
        detail = f"At most {EXCLUDED_MAX} entries can be withdrawn."
        errors.append({"pointer": "/changes/without_entries", "detail": detail})
    return errors


def _repointed(error: InvalidInput, wish: Wish) -> list[FieldError]:
    """Faults of the plan, by what in the wish brought them about."""
    found: list[FieldError] = []
    for one in error.errors:
        first = one["pointer"].split("/")[1]
        here = first in wish.changes or not wish.ids("without_seats")
        found.append({**one, "pointer": f"/changes{one['pointer']}" if here else "/changes/without_seats"})
    return found


# --- the new session --------------------------------------------------------------------------------------------------


def _excluded(source: CouncilSession, wish: Wish) -> list[str]:
    return list(dict.fromkeys([*source.excluded_entries, *wish.ids("without_entries")]))


def _plan(user: User, source: CouncilSession, run: Run | None, wish: Wish) -> Plan:
    """The source's plan with the changes. Packs that its owner may not read any more are left out."""
    changes = wish.changes
    current = run.protocol if run is not None and wish.after_round else source.protocol
    protocol = validation.merge_protocol(current, changes["protocol"]) if "protocol" in changes else current
    pins = {pin.knowledgepack_id: pin.snapshot for pin in source.pack_pins.all()}
    packs = [pack.pk for pack in validation.readable_packs(user, list(pins))]
    kept_pins = {pack: str(snapshot.pk) for pack, snapshot in pins.items() if snapshot is not None}
    return Plan(
        question=changes.get("question", source.question),
        title=_title(source.title),
        options=changes.get("options", source.options),
        packs=changes.get("packs", packs),
        pins=changes.get("pins", {}) if "packs" in changes else kept_pins,
        agents=changes.get("agents") or _agents(source, wish.ids("without_seats")),
        protocol=protocol,
        budget={**{name: getattr(source.budget, f"{name}_limit") for name in LIMITS}, **changes.get("budget", {})},
    )


def _title(title: str) -> str:
    return title if title.endswith("(fork)") else f"{title[:193]} (fork)"


def _agents(source: CouncilSession, without: Sequence[str]) -> list[Agent]:
    return [
        Agent(name=seat.name, role=seat.role, instructions=seat.instructions, model=seat.model, chair=seat.chair)
        for seat in source.seats.all()
        if str(seat.pk) not in without
    ]


def _origin(source: CouncilSession, run: Run | None, wish: Wish, kept: pure.Kept) -> Json:
    """What the fork says of itself: ``{session, run, after_round, changes, kept, new_from, asked_again, notes}``; seats by
    the ids that they have in the original."""
    return {
        "session": str(source.pk),
        "run": run.number if run is not None else None,
        "after_round": wish.after_round,
        "changes": {name: _plain(value) for name, value in wish.changes.items() if name != "pins"},
        "kept": kept.rounds,
        "new_from": kept.new_from,
        "asked_again": list(kept.asked_again),
        "notes": list(kept.notes),
    }


def _plain(value: Any) -> Any:
    """As JSON: ids and amounts of money as text."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
