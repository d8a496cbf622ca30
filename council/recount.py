"""Recomputing a decision from what is stored: answers, ballots, candidates and seeds. It must agree, or something was changed."""

from __future__ import annotations

from typing import Any

from council import counting, decisions, state
from council.deliberation.protocol import dissenters, flips, ratification
from council.models import CouncilSession, Decision, Run
from council.selectors import latest_decision
from council.serial import decision as decision_json
from realtime.errors import IllegalState

Json = dict[str, Any]


def recount(session: CouncilSession) -> Json:
    """``{agrees, decision, differences: [{run, round?, field, stored, recomputed}]}`` over every run that has a decision.

    Raises ``IllegalState`` when nothing has been decided.
    """
    decision = latest_decision(session)
    if decision is None:
        raise IllegalState("Nothing has been decided yet.", code="no_decision")
    differences: list[Json] = []
    for run in Run.objects.filter(session=session, decision__isnull=False).order_by("number"):
        differences += _of_run(session, run)
    return {"agrees": not differences, "decision": decision_json(decision), "differences": differences}


def _of_run(session: CouncilSession, run: Run) -> list[Json]:
    loaded = state.load(run.pk)
    found: list[Json] = []
    for round_ in loaded.rounds:
        if round_.tally is None:
            continue
        stored, again = (
            round_.tally.model_dump(mode="json"),
            counting.count(loaded, round_.number, round_.tally.merging).model_dump(mode="json"),
        )
        found += [
            {
                "run": run.number,
                "round": round_.number,
                "field": key,
                "stored": stored.get(key),
                "recomputed": again.get(key),
            }
            for key in sorted({*stored, *again})
            if stored.get(key) != again.get(key)
        ]
    return found + _of_decision(run, loaded)


def _of_decision(run: Run, loaded: Any) -> list[Json]:
    stored: Decision = run.decision
    fields: Json = {
        **decisions.computed_fields(loaded),
        "dissenters": list(dissenters(loaded)),
        "flips": [[flip.seat, flip.before, flip.after] for flip in flips(loaded)],
        "ratification": verdict._asdict() if (verdict := ratification(loaded)) else None,
    }
    kept: Json = {
        **{name: getattr(stored, name) for name in decisions.computed_fields(loaded)},
        "dissenters": [item["seat"] for item in stored.dissent],
        "flips": [[item["seat"], item["before"], item["after"]] for item in stored.flips],
        "ratification": stored.ratification,
    }
    return [
        {"run": run.number, "field": name, "stored": kept[name], "recomputed": fields[name]}
        for name in fields
        if kept[name] != fields[name]
    ]
