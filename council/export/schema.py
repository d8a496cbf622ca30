"""JSON Schema (2020-12) of ``record``. Parts that are values of the deliberation are taken from their pydantic models, so that the
published schema cannot fall behind them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from council.deliberation.citations import CitationCheck
from council.deliberation.tools import SearchMade
from council.deliberation.types import (
    Answer,
    Aside,
    Attack,
    Dissent,
    Evidence,
    GateAnswer,
    Protocol,
    Synthesis,
    Tally,
    Verdict,
)
from council.export.record import VERSION

Schema = dict[str, Any]
_VALUES: Final[tuple[type[BaseModel], ...]] = (
    Answer, Synthesis, Dissent, Attack, Verdict, GateAnswer, Aside, Evidence, CitationCheck, SearchMade, Tally, Protocol,
)  # fmt: skip
TEXT: Final[Schema] = {"type": "string"}
INT: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
BOOL: Final[Schema] = {"type": "boolean"}
ID: Final[Schema] = {"type": "string", "format": "uuid"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
ANY: Final[Schema] = {"type": "object"}


@cache
def schema() -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A council of Quorum",
        "description": "Ballots, the calls that asked for them and the seed of a run are left out while a round is open.",
        **_object(
            quorum_council={"const": VERSION},
            exported_at=TIME,
            session=_open(
                id=ID,
                question=TEXT,
                options=_list(TEXT),
                status=TEXT,
                agents=_list(_seat()),
                last_seq=INT,
                forked_from=_or_null(_fork()),
                excluded_entries=_list(ID),
            ),
            packs=_list(_object(id=ID, name=TEXT, snapshot=_or_null(_snapshot()))),
            runs=_list(_run()),
            messages=_list(
                _open(
                    id=ID,
                    kind=TEXT,
                    content=TEXT,
                    interrupt=BOOL,
                    author=_or_null(ID),
                    seat=_or_null(ID),
                    turn=_or_null(ID),
                    created_at=TIME,
                )
            ),
            calls=_or_null(_list(_call())),
        ),
        "$defs": _values(),
    }


def _values() -> Schema:
    _, found = models_json_schema([(model, "serialization") for model in _VALUES], ref_template="#/$defs/{model}")
    defs: Schema = found["$defs"]
    # What was stored by an earlier version lacks what came later; readers must not require it.
    return {name: {key: value for key, value in one.items() if key != "required"} for name, one in defs.items()}


def _ref(model: type[BaseModel]) -> Schema:
    return {"$ref": f"#/$defs/{model.__name__}"}


def _object(**properties: Schema) -> Schema:
    return {**_open(**properties), "additionalProperties": False}


def _open(**properties: Schema) -> Schema:
    """Everything named is there; later versions may add to it."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "null"}]}


def _fork() -> Schema:
    return _open(session=ID, run=_or_null(INT), after_round=INT, changes=ANY, kept=INT, new_from=INT, notes=_list(TEXT))


def _snapshot() -> Schema:
    return _object(id=ID, label=TEXT)


def _seat() -> Schema:
    return _open(id=ID, position=INT, name=TEXT, role=TEXT, instructions=TEXT, model=TEXT, chair=BOOL)


def _run() -> Schema:
    return _object(
        number=INT,
        status=TEXT,
        reason=TEXT,
        exhausted=TEXT,
        protocol=_ref(Protocol),
        seed={**_or_null(INT), "description": "of every order and tie-break; null while the run goes on"},
        started_at=TIME,
        finished_at=_or_null(TIME),
        origin={**_or_null(ANY), "description": "of a fork's first run, or of one that reconsiders an earlier one"},
        rounds=_list(_round()),
        decision=_or_null(_decision()),
        claims=_list(_claim()),
    )


def _round() -> Schema:
    return _open(
        run=INT,
        round=INT,
        stage=TEXT,
        opened_at=TIME,
        closed_at=_or_null(TIME),
        asked=_list(ID),
        turns=_list(_turn()),
        tally=_or_null(_ref(Tally)),
        ballots=_list(
            _open(seat=ID, order=_list(TEXT), ranking=_list(TEXT), scores=ANY, abstain=BOOL),
        ),
        texts=_list(_open(id=TEXT, text=TEXT, option=_or_null(TEXT))),
    )


def _turn() -> Schema:
    result = {
        "type": "object",
        "properties": {
            "answer": _ref(Answer),
            "synthesis": _ref(Synthesis),
            "dissent": _ref(Dissent),
            "attack": _ref(Attack),
            "verdict": _ref(Verdict),
            "gate": _ref(GateAnswer),
            "reply": _ref(Aside),
            "citations": _list(_ref(CitationCheck)),
            "searches": _list(_ref(SearchMade)),
        },
    }
    return _open(
        turn=ID,
        seat=_or_null(ID),
        run=INT,
        round=INT,
        kind=TEXT,
        ordinal=INT,
        attempt=INT,
        status=TEXT,
        person={**_or_null(ID), "description": "who gave it, where no model did"},
        result=_or_null(result),
        evidence=_list(_ref(Evidence)),
        error=TEXT,
        error_detail=TEXT,
        started_at=_or_null(TIME),
        finished_at=_or_null(TIME),
        copied_from=_or_null(ID),
    )


def _decision() -> Schema:
    citation = _open(
        n=INT,
        revision=_or_null(ID),
        entry=_or_null(ID),
        title=_or_null(TEXT),
        passage=_or_null(TEXT),
        snapshot=_or_null(_snapshot()),
        start=_or_null(INT),
        end=_or_null(INT),
        quote=TEXT,
        quote_hash={**TEXT, "description": "SHA-256 of the quote, hex"},
        status={"enum": ["verified", "unsupported", "missing"]},
        reason=TEXT,
        similarity=_or_null(NUMBER),
    )
    return _open(
        run=INT,
        outcome=TEXT,
        answer=TEXT,
        source=TEXT,
        option=_or_null(TEXT),
        citations=_list(citation),
        confidence=_or_null(NUMBER),
        agreement=ANY,
        rules=ANY,
        decided_by=TEXT,
        margin=_or_null(INT),
        too_close=BOOL,
        dissent=_list(_open(seat=ID, name=TEXT, text=TEXT, written=BOOL, citations=_list(_ref(CitationCheck)))),
        flips=_list(_open(seat=ID, round=INT, before=TEXT, after=TEXT)),
        ratification=_or_null(_open(accepted=INT, rejected=INT, ratified=BOOL, revised=BOOL)),
        exchange=_list(_open(round=INT, to=_or_null(TEXT), question=TEXT, reply=_or_null(TEXT))),
        missing=_list(_open(seat=ID, stage=TEXT, error=TEXT)),
        notes=_list(TEXT),
    )


def _claim() -> Schema:
    who = {"seat": ID, "name": TEXT}
    checked: Schema = _values()["CitationCheck"]["properties"]
    evidence = _object(**checked, title=_or_null(TEXT))
    return _object(
        id=TEXT,
        text=TEXT,
        asserted_by=_list(
            _object(**who, rounds=_list(INT), current=BOOL, evidence=_list(evidence)),
        ),
        disputed_by=_list(_object(**who, claim=TEXT, why={"enum": ["denies", "other_figures"]})),
        opposed_by=_list(_object(**who)),
    )


def _call() -> Schema:
    return _object(
        turn=ID,
        attempt=INT,
        ordinal=INT,
        field=TEXT,
        model=TEXT,
        system=TEXT,
        user=TEXT,
        schema=_or_null(ANY),
        response=TEXT,
        status=TEXT,
        error=TEXT,
        error_detail=TEXT,
        prompt_tokens=INT,
        completion_tokens=INT,
        estimated=BOOL,
        ttft_ms=_or_null(NUMBER),
        latency_ms=_or_null(NUMBER),
        started_at=TIME,
        finished_at=_or_null(TIME),
    )
