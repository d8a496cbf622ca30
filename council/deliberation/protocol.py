"""Protocols: how a council proceeds. Presets, validation of what users ask for, and the one import for running them.

``resolve`` turns a user's settings into a ``Protocol``; ``next_step`` (module ``steps``) runs it; the readers of a run's state
(module ``record``) say who is there, what they hold and what was counted. Callers import all of them from here.

Errors: ``ProtocolError`` with ``errors``, a list of ``{"pointer": JSON pointer, "detail": sentence}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from pydantic import ValidationError

from council.deliberation.record import (
    Flip,
    dissenters,
    final_tally,
    flips,
    known_candidates,
    missing_seats,
    positions,
    present,
    quorum_size,
    seat_label,
    voters,
)
from council.deliberation.steps import next_step
from council.deliberation.types import Protocol, Stage

__all__ = [
    "PRESETS",
    "Flip",
    "ProtocolError",
    "check_seats",
    "dissenters",
    "final_tally",
    "flips",
    "known_candidates",
    "missing_seats",
    "next_step",
    "positions",
    "present",
    "quorum_size",
    "resolve",
    "seat_label",
    "voters",
]

PRESETS: Mapping[str, Protocol] = MappingProxyType(
    {
        "council": Protocol(preset="council", stages=(Stage.OPENING, Stage.BALLOT, Stage.SYNTHESIS), rounds=0),
        "debate": Protocol(
            preset="debate", stages=(Stage.OPENING, Stage.DEBATE, Stage.BALLOT, Stage.SYNTHESIS), rounds=1
        ),
    }
)
ORDER = (Stage.OPENING, Stage.DEBATE, Stage.BALLOT, Stage.SYNTHESIS)


class ProtocolError(ValueError):
    """Settings that make no protocol, with every fault that was found."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer}: {detail}" for pointer, detail in errors))
        self.errors: list[dict[str, str]] = [{"pointer": pointer, "detail": detail} for pointer, detail in errors]


def resolve(data: Mapping[str, object] | None) -> Protocol:
    """A preset with overrides as a complete protocol; ``resolve(None)`` is the preset "council".

    Types are checked strictly, as JSON: "2" is no number. ``rounds`` of 1 or more adds a debate to a preset without one and
    0 removes it, so that ``DEBATE in stages`` exactly when ``rounds > 0``. ``stages`` may be given in the order of
    ``ORDER``, beginning with the opening and ending with the synthesis. ``resolve(protocol.model_dump())`` is ``protocol``.
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
        raise ProtocolError([(_pointer(e["loc"]), _detail(e["type"], e["msg"])) for e in found]) from error
    except TypeError as error:
        raise ProtocolError([("/protocol", "must consist of JSON values")]) from error


def _pointer(location: Sequence[str | int]) -> str:
    """RFC 6901."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in location)
    return "/".join(["/protocol", *steps])


def _detail(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"unknown setting; known are {', '.join(Protocol.model_fields)}"
    return message[:1].lower() + message[1:]


def _contradictions(protocol: Protocol) -> Iterator[tuple[str, str]]:
    stages = protocol.stages
    ordered = tuple(stage for stage in ORDER if stage in stages)
    if stages != ordered or stages[:1] != ORDER[:1] or stages[-1:] != ORDER[-1:]:
        yield "/protocol/stages", f"must keep the order {', '.join(ORDER)}; the first and the last are required"
    if (Stage.DEBATE in stages) != (protocol.rounds > 0):
        yield "/protocol/rounds", "must be 0 without the stage debate and at least 1 with it"
