"""What makes a plan for a council sound. Every fault is reported with a pointer into the request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from accounts.models import User
from council.defaults import Agent
from council.deliberation.protocol import ProtocolError, check_seats, resolve
from council.deliberation.protocol import check_options as check_fit
from council.deliberation.types import HUMAN, Protocol
from council.endpoints import unpriced
from knowledge import selectors as knowledge
from knowledge.models import KnowledgePack, Snapshot
from realtime.errors import FieldError, InvalidInput, NotFound

AGENTS_MAX = 12
OPTIONS_MIN, OPTIONS_MAX = 2, 12


def check_agents(agents: Sequence[Agent]) -> None:
    """Distinct names, at most one chair, which is a model's, and at least two seats that vote."""
    errors: list[FieldError] = []
    if len(agents) > AGENTS_MAX:
        errors.append({"pointer": "/agents", "detail": f"A council has at most {AGENTS_MAX} seats."})
    if sum(bool(agent.get("chair")) for agent in agents) > 1:
        errors.append({"pointer": "/agents", "detail": "Only one seat can be the chair."})
    errors += [
        {"pointer": f"/agents/{index}/name", "detail": "Another seat has this name."}
        for index in _repeated([agent["name"] for agent in agents])
    ]
    errors += [
        {"pointer": f"/agents/{index}/model", "detail": "A person cannot be the chair, who writes what was decided."}
        for index, agent in enumerate(agents)
        if agent.get("chair") and agent.get("model") == HUMAN
    ]
    _raise(errors)


def check_options(options: Sequence[str]) -> None:
    errors: list[FieldError] = []
    if options and not OPTIONS_MIN <= len(options) <= OPTIONS_MAX:
        errors.append(
            {"pointer": "/options", "detail": f"A closed question has {OPTIONS_MIN} to {OPTIONS_MAX} options."}
        )
    errors += [
        {"pointer": f"/options/{index}", "detail": "This option stands here twice."} for index in _repeated(options)
    ]
    _raise(errors)


def check_budget(budget: Mapping[str, Any], agents: Sequence[Agent]) -> None:
    """Money can only be counted where prices are known."""
    if budget.get("usd") is None:
        return
    unknown = unpriced(agent.get("model", "") for agent in agents)
    _raise([{"pointer": "/budget/usd", "detail": f"The price of the model {model!r} is unknown."} for model in unknown])


def _repeated(texts: Iterable[str]) -> list[int]:
    seen: set[str] = set()
    found = []
    for index, text in enumerate(texts):
        key = " ".join(text.casefold().split())
        if key in seen:
            found.append(index)
        seen.add(key)
    return found


def merge_protocol(current: Mapping[str, object], changes: Mapping[str, object]) -> Mapping[str, object]:
    """Overrides on what a draft has. Another preset starts from that preset; ``rounds`` decides whether there is a debate."""
    if "preset" in changes and changes["preset"] != current.get("preset"):
        return changes
    kept = {key: value for key, value in current.items() if key != "stages"} if "rounds" in changes else current
    return {**kept, **changes}


def resolve_protocol(settings: Mapping[str, object], agents: Sequence[Agent], options: Sequence[str] = ()) -> Protocol:
    try:
        protocol = resolve(settings)
        check_fit(protocol, options)
        check_seats(protocol, sum(not agent.get("chair") for agent in agents))
    except ProtocolError as error:
        raise InvalidInput(str(error), errors=cast("list[FieldError]", error.errors)) from error
    return protocol


def readable_packs(user: User, wanted: Sequence[UUID]) -> list[KnowledgePack]:
    return list(knowledge.readable_packs(user).filter(pk__in=wanted))


def visible_packs(user: User, wanted: Sequence[UUID]) -> list[KnowledgePack]:
    """The packs by id; an unknown one and another user's are the same fault."""
    found = {pack.pk: pack for pack in readable_packs(user, wanted)}
    _raise(
        [
            {"pointer": f"/packs/{index}", "detail": "There is no such pack."}
            for index, pack in enumerate(wanted)
            if pack not in found
        ]
    )
    return list(found.values())


def pinned_snapshots(
    packs: Sequence[KnowledgePack], wanted: Sequence[UUID], pins: Mapping[UUID, str]
) -> dict[UUID, Snapshot]:
    """The snapshots by pack that ``pins`` names by label or id. One that its pack does not have is a fault."""
    found: dict[UUID, Snapshot] = {}
    errors: list[FieldError] = []
    for pack in packs:
        if pack.pk not in pins:
            continue
        try:
            found[pack.pk] = knowledge.snapshot_named(pack, pins[pack.pk])
        except NotFound as error:
            errors.append({"pointer": f"/packs/{list(wanted).index(pack.pk)}/snapshot", "detail": error.detail})
    _raise(errors)
    return found


def is_uuid(text: Any) -> bool:
    try:
        UUID(str(text))
    except ValueError:
        return False
    return True


def _raise(errors: Sequence[FieldError]) -> None:
    if errors:
        raise InvalidInput(errors[0]["detail"], errors=errors)
