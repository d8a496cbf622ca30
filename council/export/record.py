"""The complete record of a council as JSON: enough to follow it turn by turn and to count it again. Its schema is ``schema``."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from council import selectors, serial
from council.claims_table import claims_of
from council.deliberation.types import TurnKind
from council.models import CouncilSession, LlmCall, Run

Json = dict[str, Any]
VERSION: Final = 1


def record(session: CouncilSession, *, prompts: bool = False) -> Json:
    """``{quorum_council, exported_at, session, packs, runs: [{…, rounds, decision, claims}], messages, calls}``.

    As of one moment. What a round that is still open would reveal is left out: its ballots, the calls that asked for them, and the
    run's seed, which decides ties. ``calls`` is null unless ``prompts``.
    """
    with transaction.atomic():
        selectors.repeatable_read()
        snapshot = selectors.session_snapshot(session.pk)
        rounds, decisions = defaultdict(list), {one["run"]: one for one in snapshot["decisions"]}
        for round_ in snapshot["rounds"]:
            rounds[round_["run"]].append(round_)
        return {
            "quorum_council": VERSION,
            "exported_at": serial.when(timezone.now()),
            "session": {**snapshot["session"], "last_seq": snapshot["last_seq"]},
            "packs": _packs(session),
            "runs": [
                {
                    **_run(run),
                    "rounds": rounds[run.number],
                    "decision": decisions.get(run.number),
                    "claims": claims_of(session, run.number)["claims"],
                }
                for run in Run.objects.filter(session=session).order_by("number")
            ],
            "messages": snapshot["messages"],
            "calls": _calls(session) if prompts else None,
        }


def _packs(session: CouncilSession) -> list[Json]:
    pins = session.pack_pins.select_related("knowledgepack", "snapshot").order_by("pk")
    return [
        {
            "id": str(pin.knowledgepack_id),
            "name": pin.knowledgepack.name,
            "snapshot": {"id": str(pin.snapshot.pk), "label": pin.snapshot.label} if pin.snapshot else None,
        }
        for pin in pins
    ]


def _run(run: Run) -> Json:
    return {
        "number": run.number,
        "status": run.status,
        "reason": run.reason,
        "exhausted": run.exhausted,
        "protocol": run.protocol,
        "seed": run.seed if run.finished_at else None,
        "started_at": serial.when(run.started_at),
        "finished_at": serial.when(run.finished_at),
        "origin": run.origin,
    }


def _calls(session: CouncilSession) -> list[Json]:
    """Every call of a model but those whose answers are still sealed."""
    sealed = Q(turn__kind=TurnKind.BALLOT) | Q(turn__round__sealed=True)
    calls = LlmCall.objects.filter(session=session).exclude(sealed, turn__round__closed_at=None)
    names = (
        "field", "model", "system", "user", "schema", "response", "status", "error", "error_detail", "prompt_tokens",
        "completion_tokens", "estimated", "ttft_ms", "latency_ms",
    )  # fmt: skip
    return [
        {
            "turn": str(call.turn_id),
            "attempt": call.attempt,
            "ordinal": call.ordinal,
            **{name: getattr(call, name) for name in names},
            "started_at": serial.when(call.started_at),
            "finished_at": serial.when(call.finished_at),
        }
        for call in calls.order_by("started_at", "id")
    ]
