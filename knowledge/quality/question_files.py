"""Golden questions as a table: CSV with the columns ``question`` and ``expected``, a row for each expected entry, so that a title
may have any character and a spreadsheet can edit it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db.models import Count

from accounts.models import User
from knowledge import exports, services
from knowledge.models import Entry, KnowledgePack
from knowledge.selectors import entries_of
from realtime.errors import InvalidInput, QuorumError

COLUMNS: Final = ("question", "expected")
BYTES_MAX: Final = 2 * 1024 * 1024
QUESTIONS_MAX: Final = 500
QUESTION_LENGTH: Final = 1000

Rows = Mapping[str, Sequence[str]]  # what names each question's expected entries


@dataclass(slots=True)
class Outcome:
    added: int = 0
    refused: list[str] = field(default_factory=list)


def read(data: bytes) -> dict[str, list[str]]:
    """The questions of a file, in order. Raises ``InvalidInput`` (``bad_file``) for what is no such table."""
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        if not set(COLUMNS) <= set(table.fieldnames or ()):
            raise _bad("The first line must name the columns question and expected.")
        found: dict[str, list[str]] = {}
        for row in table:
            question, expected = ((row[name] or "").strip() for name in COLUMNS)
            if question:
                found.setdefault(question, []).append(expected)
    except UnicodeDecodeError as error:
        raise _bad("The file is not UTF-8 text.") from error
    except csv.Error as error:
        raise _bad(f"The file is no CSV: {error}.") from error
    if not found or len(found) > QUESTIONS_MAX:
        raise _bad(f"The file has {len(found)} questions; 1 to {QUESTIONS_MAX} can be added at once.")
    return found


def add(pack: KnowledgePack, author: User | None, rows: Rows) -> Outcome:
    """Add the questions that can be added, each in its own transaction; the others say why not."""
    outcome, entries = Outcome(), _entries(pack, {name for names in rows.values() for name in names})
    for question, names in rows.items():
        if missing := [name or "(blank)" for name in names if name not in entries]:
            outcome.refused.append(f"{question}: the pack has not one entry named {', '.join(missing)}.")
        elif len(question) > QUESTION_LENGTH:
            outcome.refused.append(f"{question[:60]}…: a question has at most {QUESTION_LENGTH} characters.")
        else:
            _add(outcome, pack, author, question, list(dict.fromkeys(entries[name] for name in names)))
    return outcome


def _add(outcome: Outcome, pack: KnowledgePack, author: User | None, question: str, expected: list[UUID]) -> None:
    try:
        services.add_golden_question(pack.pk, author, question=question, expected=expected)
    except QuorumError as error:
        outcome.refused.append(f"{question}: {error.detail}")
    else:
        outcome.added += 1


def _entries(pack: KnowledgePack, names: set[str]) -> dict[str, UUID]:
    """The entry that each name means: by id, then by external id, then by a title that no other entry has."""
    entries, ids = entries_of(pack), {name: UUID(name) for name in names if _is_uuid(name)}
    once = entries.filter(title__in=names).values("title").annotate(count=Count("pk")).filter(count=1).values("title")
    titled = dict(entries.filter(title__in=once).values_list("title", "pk"))
    external = {name: pk for name, pk in entries.filter(external_id__in=names).values_list("external_id", "pk") if name}
    known = set(entries.filter(pk__in=ids.values()).values_list("pk", flat=True))
    return {**titled, **external, **{name: pk for name, pk in ids.items() if pk in known}}


def write(pack: KnowledgePack) -> str:
    """The pack's questions in the form that ``read`` takes; entries by what will still name them elsewhere."""
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(COLUMNS)
    asked = pack.golden_questions.prefetch_related("expected").order_by("created_at", "id")
    counts = dict(entries_of(pack).values_list("title").annotate(count=Count("pk")).order_by())
    for question in asked:
        table.writerows((question.question, _name(entry, counts)) for entry in question.expected.all())
    return out.getvalue()


def filename(pack: KnowledgePack) -> str:
    return f"{exports.slug(pack.name) or 'pack'}-questions.csv"


def _name(entry: Entry, counts: Mapping[str, int]) -> str:
    return entry.external_id or (entry.title if counts.get(entry.title) == 1 else str(entry.pk))


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _bad(detail: str) -> InvalidInput:
    return InvalidInput(detail, code="bad_file")
