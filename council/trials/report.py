"""Findings as tables, as JSON and as a plot. Values in, text out; ``write`` puts all of it into the trial's directory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from council.deliberation.figures import COLOURS, Axis, Frame
from council.deliberation.intervals import Share
from council.deliberation.measures import Difference
from council.trials.bench import Plan, Trial
from council.trials.findings import Compared, Findings, OfProtocol, find

Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # head, rows


def write(trial: Trial) -> str:
    """report.json, report.md and accuracy.svg from the rows that there are; returns the tables for the terminal."""
    plan, total = trial.plan, len(list(trial.planned()))
    found = find(trial.results.rows, trial.questions, plan.protocols, plan.seed)
    done = f"{len(trial.results.rows)} of {total} results"
    whole = {"plan": plan.model_dump(mode="json"), "results": len(trial.results.rows), "of": total, **as_json(found)}
    (trial.folder / "report.json").write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (trial.folder / "report.md").write_text(markdown(found, plan, done), "utf-8")
    (trial.folder / "accuracy.svg").write_text(plot(found.protocols), "utf-8")
    return text(found, done)


def as_json(value: Any) -> Any:
    """Named tuples as objects, at any depth."""
    if hasattr(value, "_asdict"):
        return {name: as_json(one) for name, one in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: as_json(one) for name, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list | tuple) else value


# --- tables -----------------------------------------------------------------------------------------------------------


def tables(found: Findings) -> list[tuple[str, Table]]:
    """With their titles; those without a row are left out."""
    every = found.protocols
    named = [
        ("Accuracy and what it cost", _accuracy(every)),
        ("Differences on the same questions", _differences(found.differences)),
        ("Against as many single answers as cost the same", _differences(found.at_equal_spend)),
        ("Did deliberating help?", _helped(every)),
        ("Flips in debates, by what moved the seat", _flips(every)),
        ("Calibration", _calibration(every)),
        ("Accuracy by field", _fields(every)),
    ]
    return [(title, table) for title, table in named if table[1]]


def _accuracy(every: Sequence[OfProtocol]) -> Table:
    head = (
        "protocol",
        "questions",
        "right",
        "95 %",
        "tokens",
        "prompt",
        "reply",
        "calls",
        "seconds",
        "US$",
        "not decided",
    )
    return head, [_accuracy_row(one) for one in every]


def _accuracy_row(one: OfProtocol) -> Sequence[str]:
    spent = one.spending
    return (
        one.protocol,
        str(one.questions),
        f"{one.accuracy.right:.3f}",
        _interval(one.accuracy),
        f"{spent.tokens:,.0f}{'*' if spent.estimated else ''}",
        f"{spent.prompt_tokens:,.0f}",
        f"{spent.completion_tokens:,.0f}",
        f"{spent.calls:.1f}",
        f"{spent.seconds:.1f}",
        "unpriced" if spent.usd is None else f"{spent.usd:.5f}",
        _undecided(one.statuses),
    )


def _undecided(statuses: Mapping[str, int]) -> str:
    named = {"no_consensus": "no consensus", "failed": "failed", "partial": "partial"}
    return ", ".join(f"{statuses[one]} {word}" for one, word in named.items() if statuses.get(one)) or "0"


def _differences(found: Sequence[Compared]) -> Table:
    head = ("", "against", "questions", "difference", "95 %", "McNemar p")
    return head, [(one.b, one.a, str(one.by.questions), *_difference(one.by)) for one in found]


def _difference(by: Difference) -> tuple[str, str, str]:
    return f"{by.mean:+.3f}", f"{by.low:+.3f} to {by.high:+.3f}", "" if by.p is None else f"{by.p:.3f}"


def _helped(every: Sequence[OfProtocol]) -> Table:
    head = ("protocol", "questions", "openings", "decision", "gain", "95 %")
    return head, [
        (
            one.protocol,
            str(one.helped.gain.questions),
            f"{one.helped.opening.right:.3f}",
            f"{one.helped.final.right:.3f}",
            *_difference(one.helped.gain)[:2],
        )
        for one in every
        if one.helped
    ]


def _flips(every: Sequence[OfProtocol]) -> Table:
    def causes(made: Mapping[str, int]) -> str:
        return ", ".join(f"{n} {cause}" for cause, n in sorted(made.items())) or "0"

    held = [one for one in every if any((one.flips.wrong_to_right, one.flips.right_to_wrong, one.flips.other))]
    rows = [
        (one.protocol, causes(one.flips.wrong_to_right), causes(one.flips.right_to_wrong), str(one.flips.other))
        for one in held
    ]
    return ("protocol", "wrong → right", "right → wrong", "other"), rows


def _calibration(every: Sequence[OfProtocol]) -> Table:
    head = ("protocol", "answers", "Brier", "calibration error", "stated → right (answers)")
    rows = []
    for one in every:
        bins = ", ".join(f"{b.confidence:.2f} → {b.right.right:.2f} ({b.n})" for b in one.calibration.bins)
        rows.append(
            (
                one.protocol,
                str(one.calibration.n),
                _or_none(one.calibration.brier),
                _or_none(one.calibration.error),
                bins,
            )
        )
    return head, [row for row in rows if row[1] != "0"]


def _or_none(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _fields(every: Sequence[OfProtocol]) -> Table:
    fields = list(dict.fromkeys(field for one in every for field in one.by_field))
    rows = [(one.protocol, *(_field(one.by_field.get(field)) for field in fields)) for one in every]
    return ("protocol", *fields), rows


def _field(share: Share | None) -> str:
    return "" if share is None else f"{share.right:.2f}"


def _interval(share: Share) -> str:
    return f"{share.low:.3f} to {share.high:.3f}"


# --- as text ----------------------------------------------------------------------------------------------------------


def text(found: Findings, done: str) -> str:
    parts = [f"{title}\n{_aligned(*table)}" for title, table in tables(found)]
    return "\n\n".join([*parts, f"{done}. Tokens, calls, seconds and US$ are for each answer."])


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def markdown(found: Findings, plan: Plan, done: str) -> str:
    models = ", ".join(model or plan.default for model in plan.models)
    chair, packs = plan.chair or plan.default, "read" if plan.packs else "not read"
    asked = f"{plan.seats} seats on {models}, chair {chair}; packs {packs}; {plan.repeat} repeat(s), seed {plan.seed}"
    intro = (
        f"# Trial {plan.trial}\n\n{done}; {asked}; at most {plan.tokens:,} tokens a question; begun {plan.started_at}.\n\n"
        "Tokens, calls, seconds and US$ are for each answer; * some were counted by us. What is not decided counts as wrong; "
        "partial is decided, by fewer seats or earlier. How to read this: docs/trials.md.\n\n"
        "![Accuracy against tokens](accuracy.svg)"
    )
    parts = [f"## {title}\n\n{_piped(*table)}" for title, table in tables(found)]
    return "\n\n".join([intro, *parts]) + "\n"


def _piped(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


# --- plot -------------------------------------------------------------------------------------------------------------


def plot(every: Sequence[OfProtocol]) -> str:
    """Accuracy against the tokens of an answer, each with its interval."""
    step = _step(max((one.spending.tokens for one in every), default=0) * 1.08)
    frame = Frame(
        title="Accuracy against tokens, with 95 % intervals",
        x=Axis(0, 5 * step, [n * step for n in range(6)], "tokens for each answer", ",.0f"),
        y=Axis(0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1.0), "share of right answers"),
        right=150,
    )
    coloured = [(one, COLOURS[at % len(COLOURS)]) for at, one in enumerate(every)]
    dots = [frame.dot(one.spending.tokens, one.accuracy, colour) for one, colour in coloured]
    notes = [frame.note(at, one.protocol, colour) for at, (one, colour) in enumerate(coloured)]
    return frame.document([*dots, *notes])


def _step(top: float) -> float:
    """A round fifth of an axis that ``top`` fits on."""
    size = 1.0
    while True:
        for factor in (1, 2, 3, 4, 5):
            if 5 * factor * size >= top:
                return factor * size
        size *= 10
