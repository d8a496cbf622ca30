"""Protocols: how a council proceeds. Presets, validation of what users ask for, and the one import for running them.

``resolve`` turns a user's settings into a ``Protocol``; ``next_step`` (module ``steps``) runs it; the readers of a run's state
(module ``record``) say who is there, what they hold and what was counted. Callers import all of them from here.

Errors: ``ProtocolError`` with ``errors``, a list of ``{"pointer": JSON pointer, "detail": sentence}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from pydantic import ValidationError

from council.deliberation.record import (
    Flip,
    dissenters,
    final_tally,
    flips,
    known_candidates,
    missing_seats,
    open_questions,
    positions,
    present,
    questions_to,
    quorum_size,
    ratification,
    replies_to,
    seat_label,
    voters,
    written,
)
from council.deliberation.steps import next_step
from council.deliberation.types import Protocol, Scale, Stage

__all__ = [
    "PRESETS",
    "Flip",
    "ProtocolError",
    "check_options",
    "check_seats",
    "dissenters",
    "final_tally",
    "flips",
    "known_candidates",
    "missing_seats",
    "next_step",
    "open_questions",
    "positions",
    "present",
    "questions_to",
    "quorum_size",
    "ratification",
    "replies_to",
    "resolve",
    "seat_label",
    "voters",
    "written",
]

ORDER = tuple(stage for stage in Stage if stage is not Stage.GATE)
_OPENING, _ATTACK, _DEBATE, _BALLOT, _TALLY, _SYNTHESIS, _RATIFY = ORDER
PRESETS: Mapping[str, Protocol] = MappingProxyType(
    {
        one.preset: one
        for one in (
            Protocol(preset="council", stages=(_OPENING, _BALLOT, _SYNTHESIS), rounds=0),
            Protocol(preset="debate", stages=(_OPENING, _DEBATE, _BALLOT, _SYNTHESIS), rounds=1),
            Protocol(preset="poll", stages=(_OPENING, _TALLY), rounds=0),
            Protocol(preset="delphi", stages=(_OPENING, _DEBATE, _SYNTHESIS), rounds=3, estimate=Scale()),
            Protocol(preset="red-team", stages=(_OPENING, _ATTACK, _DEBATE, _BALLOT, _SYNTHESIS), rounds=1),
        )
    }
)
LAST = (_TALLY, _SYNTHESIS, _RATIFY)  # a run ends with a count or with a text


class ProtocolError(ValueError):
    """Settings that make no protocol, with every fault that was found."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer}: {detail}" for pointer, detail in errors))
        self.errors: list[dict[str, str]] = [{"pointer": pointer, "detail": detail} for pointer, detail in errors]


def resolve(data: Mapping[str, object] | None) -> Protocol:
    """A preset with overrides as a complete protocol; ``resolve(None)`` is the preset "council".

    Types are checked strictly, as JSON: "2" is no number. ``rounds`` of 1 or more adds a debate to a preset without one and
    0 removes it, so that ``DEBATE in stages`` exactly when ``rounds > 0``. ``stages`` may be given in the order of ``ORDER``,
    beginning with the opening and ending with one of ``LAST``. ``resolve(protocol.model_dump())`` is ``protocol``.
    """
    if data is not None and not isinstance(data, Mapping):
        raise ProtocolError([("/protocol", "must be an object")])
    settings = dict(data or {})
    preset = _preset(settings)
    merged = preset.model_dump(mode="json") | settings
    if "rounds" in settings and "stages" not in settings:
        merged["stages"] = _stages_for(preset, settings["rounds"])
    if "stages" in settings and "rounds" not in settings:
        merged["rounds"] = _rounds_for(preset, settings["stages"])
    protocol = _validate(merged)
    if errors := list(_contradictions(protocol)):
        raise ProtocolError(errors)
    return protocol


def check_seats(protocol: Protocol, voters: int) -> None:
    """Raise ``ProtocolError`` when so many voters (the chair not counted) could never meet the quorum."""
    if voters < 2:
        raise ProtocolError([("/agents", "a council needs at least two seats besides the chair")])
    if protocol.quorum is not None and protocol.quorum > voters:
        raise ProtocolError([("/protocol/quorum", f"is larger than the number of voting seats ({voters})")])


def check_options(protocol: Protocol, options: Sequence[str]) -> None:
    """Raise ``ProtocolError`` when the question has options and the seats are to estimate a figure."""
    if options and protocol.estimate is not None:
        raise ProtocolError([("/options", "a question that is answered with an estimate has no options")])


def _preset(settings: Mapping[str, object]) -> Protocol:
    name = settings.get("preset", "council")
    if not isinstance(name, str) or name not in PRESETS:
        raise ProtocolError([("/protocol/preset", f"must be one of: {', '.join(PRESETS)}")])
    return PRESETS[name]


def _stages_for(preset: Protocol, rounds: object) -> list[Stage]:
    wanted = {*preset.stages, Stage.DEBATE} if rounds else {*preset.stages} - {Stage.DEBATE}
    return [stage for stage in ORDER if stage in wanted]


def _rounds_for(preset: Protocol, stages: object) -> int:
    debates = isinstance(stages, Sequence) and Stage.DEBATE in stages
    return max(1, preset.rounds) if debates else 0


def _validate(merged: Mapping[str, object]) -> Protocol:
    try:
        return Protocol.model_validate_json(json.dumps(merged), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise ProtocolError([(_pointer(e["loc"]), _detail(e["loc"], e["type"], e["msg"])) for e in found]) from error
    except TypeError as error:
        raise ProtocolError([("/protocol", "must consist of JSON values")]) from error


def _pointer(location: Sequence[str | int]) -> str:
    """RFC 6901."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in location)
    return "/".join(["/protocol", *steps])


def _detail(location: Sequence[str | int], kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        known = Scale.model_fields if location[0] == "estimate" else Protocol.model_fields
        return f"unknown setting; known are {', '.join(known)}"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


# --- stages that make no protocol -------------------------------------------------------------------------------------

Faults = Iterator[tuple[str, str]]


def _contradictions(protocol: Protocol) -> Faults:
    for find in _FAULTS:
        yield from find(protocol)


def _order(protocol: Protocol) -> Faults:
    stages = protocol.stages
    if not stages:
        yield "/protocol/stages", "must not be empty; it begins with opening"
        return
    if Stage.GATE in stages:
        yield (
            f"/protocol/stages/{stages.index(Stage.GATE)}",
            "a gate is no stage of its own: set gate to before_synthesis",
        )
        return
    if stages[0] is not _OPENING:
        yield "/protocol/stages/0", "must be opening"
    for place, (before, stage) in enumerate(pairwise(stages), start=1):
        if stage is before or stage in stages[:place]:
            yield f"/protocol/stages/{place}", f"{stage} stands here twice; rounds says how often a debate is held"
        elif ORDER.index(stage) < ORDER.index(before):
            yield f"/protocol/stages/{place}", f"{stage} comes before {before}; the order is {', '.join(ORDER)}"
    if stages[-1] not in LAST:
        yield f"/protocol/stages/{len(stages) - 1}", f"the last stage must be one of {', '.join(LAST)}"


def _rounds(protocol: Protocol) -> Faults:
    if (_DEBATE in protocol.stages) != (protocol.rounds > 0):
        yield "/protocol/rounds", "must be 0 without the stage debate and at least 1 with it"


def _needs(stage: Stage, needed: Stage, why: str) -> Callable[[Protocol], Faults]:
    def find(protocol: Protocol) -> Faults:
        if stage in protocol.stages and needed not in protocol.stages:
            yield f"/protocol/stages/{protocol.stages.index(stage)}", why

    return find


def _estimates(protocol: Protocol) -> Faults:
    if protocol.estimate is None:
        if protocol.preset == "delphi":
            yield "/protocol/estimate", "a delphi needs the scale of its estimates"
        return
    for place, stage in enumerate(protocol.stages):
        if stage in {_BALLOT, _ATTACK}:
            yield (
                f"/protocol/stages/{place}",
                f"estimates are not put to {'a ballot' if stage is _BALLOT else 'an attack'}",
            )


def _gate(protocol: Protocol) -> Faults:
    if protocol.gate is not None and _SYNTHESIS not in protocol.stages:
        yield "/protocol/gate", "there is no synthesis that it could come before"


_FAULTS = (
    _order,
    _gate,
    _rounds,
    _needs(_ATTACK, _DEBATE, "an attack is answered in a debate, which must follow it"),
    _needs(_RATIFY, _SYNTHESIS, "there is no text to ratify without a synthesis"),
    _estimates,
)
