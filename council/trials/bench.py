"""A trial: every question under every protocol, several at a time, each result kept as soon as it is there.

Directory: ``trial.json`` (the plan), ``questions.jsonl`` (the questions as they were asked), ``results.jsonl`` (``rows``), and the
report. Errors: ``TrialRefused``, one line. What a question's models do wrong is a row, never an error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from pydantic import Field, ValidationError

from accounts.models import User
from council import evidence, sweeper
from council.deliberation import prompts
from council.deliberation.protocol import PRESETS
from council.deliberation.types import Evidence, Stage, TurnContext, TurnKind
from council.deliberation.values import Frozen
from council.trials import councils, library, sampling
from council.trials.questions import Question, parse
from council.trials.rows import Key, Results, Row, Sample
from council.trials.stopping import Interrupted, Stop
from knowledge.models import KnowledgePack
from realtime.errors import QuorumError

logger = logging.getLogger(__name__)

SINGLE, CONSISTENCY = "single", "self-consistency"
PROTOCOLS = (SINGLE, CONSISTENCY, *PRESETS)
SWEEP_S = 5.0
Say = Callable[[str], None]


class TrialRefused(ValueError):
    """The trial cannot be held as asked."""


class Plan(Frozen):
    """Everything that a resumed trial must have again. ``models`` [""] is the default model, which ``default`` names."""

    trial: str
    started_at: str
    default: str
    protocols: tuple[str, ...] = PROTOCOLS
    models: tuple[str, ...] = ("",)
    chair: str = ""
    tokens: int = Field(default=20_000, ge=1)
    seats: int = Field(default=3, ge=2, le=11)
    repeat: int = Field(default=1, ge=1)
    samples: int = Field(default=3, ge=1)
    concurrency: int = Field(default=4, ge=1, le=64)
    seed: int = 1
    packs: bool = True
    deadline_s: float = Field(default=600, ge=1, le=3600)
    user: str | None = None


def plan(**values: Any) -> Plan:
    """Raises ``TrialRefused`` with the first fault."""
    if unknown := [one for one in values["protocols"] if one not in PROTOCOLS]:
        raise TrialRefused(f"There is no protocol {unknown[0]!r}; known are {', '.join(PROTOCOLS)}.")
    try:
        return Plan(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise TrialRefused(f"--{str(first['loc'][0]).removesuffix('_s')}: {first['msg']}") from error


def create(folder: Path, plan: Plan, questions: Sequence[Question]) -> None:
    """Begin a trial's directory. Raises ``TrialRefused`` when it holds one already, or cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrialRefused(f"{folder}: {error.strerror}") from error
    if (folder / "trial.json").exists():
        raise TrialRefused(f"{folder} holds a trial already; go on with it by --resume, or name another directory")
    lines = (one.model_dump_json(by_alias=True) + "\n" for one in questions)
    (folder / "questions.jsonl").write_text("".join(lines), "utf-8")
    (folder / "trial.json").write_text(
        plan.model_dump_json(indent=2) + "\n", "utf-8"
    )  # last: with it the directory is whole


def open_plan(folder: Path) -> Plan:
    try:
        plan = Plan.model_validate_json((folder / "trial.json").read_text("utf-8"))
    except OSError as error:
        raise TrialRefused(f"{folder} holds no trial that could be resumed") from error
    except ValidationError as error:
        raise TrialRefused(f"{folder / 'trial.json'} is no plan of a trial") from error
    if plan.default != settings.LLM_MODEL and "" in (*plan.models, plan.chair):
        raise TrialRefused(f"the trial was begun with the default model {plan.default}; now it is {settings.LLM_MODEL}")
    return plan


class Trial:
    """Raises ``QuestionFault`` and ``RowsDamaged``, which are ValueErrors as ``TrialRefused`` is."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.plan, self._say = folder, open_plan(folder), say
        lines = (folder / "questions.jsonl").read_text("utf-8").splitlines()
        self.questions = parse(lines, str(folder / "questions.jsonl"))
        self.results = Results(folder / "results.jsonl")
        self.stop = Stop()
        self._complaints: set[str] = set()
        self._lock = threading.Lock()

    def planned(self) -> Iterator[tuple[Key, Question]]:
        """Question by question, so that what is there after an interruption can be compared."""
        for question in self.questions:
            for repeat in range(1, self.plan.repeat + 1):
                for protocol in self.plan.protocols:
                    if self._fits(protocol, question):
                        yield Key(question.id, protocol, repeat), question

    def _fits(self, protocol: str, question: Question) -> bool:
        return protocol not in PRESETS or councils.settings_for(protocol, question) is not None

    def run(self) -> bool:
        """Answer what is not answered yet. False when it was interrupted; database errors come through."""
        owner = library.owner(self.plan.user)
        reads = self.plan.packs and any(question.entries for question in self.questions)
        self._table = self._seated(owner, [library.install(owner)] if reads else [])
        if left := councils.abandoned(owner, self.plan.trial):
            self._say(
                f"{left} councils that an earlier process had left were put away; their questions are asked again."
            )
        done = self.results.done
        due = [(key, question) for key, question in self.planned() if key not in done]
        self._total, self._done = len(due), 0
        with _sweeping(), ThreadPoolExecutor(self.plan.concurrency, "trial") as pool:
            return self._all(pool, due)

    def _seated(self, owner: User, packs: Sequence[KnowledgePack]) -> councils.Table:
        plan = self.plan
        self._packs = packs
        return councils.Table(
            owner=owner,
            seats=plan.seats,
            models=plan.models,
            chair=plan.chair,
            tokens=plan.tokens,
            deadline_s=plan.deadline_s,
            packs=[pack.pk for pack in packs],
        )

    def _all(self, pool: ThreadPoolExecutor, due: Sequence[tuple[Key, Question]]) -> bool:
        units: list[Future[None]] = []
        try:
            units += (pool.submit(self._unit, key, question) for key, question in due)
            ended, _ = wait(units, return_when=FIRST_EXCEPTION)
            failed = next((error for unit in ended if (error := unit.exception()) is not None), None)
        except KeyboardInterrupt:
            failed = Interrupted()
        if failed is None:
            return True
        for unit in units:
            unit.cancel()
        self.stop.now()
        wait(units)
        if isinstance(failed, Interrupted):
            return False
        raise failed

    # --- one question under one protocol ------------------------------------------------------------------------------

    def _unit(self, key: Key, question: Question) -> None:
        try:
            self.stop.check()
            row = self._row(key, question)
        finally:
            connection.close()
        self.results.add(row)
        self._tell(row)

    def _row(self, key: Key, question: Question) -> Row:
        began = time.monotonic()
        try:
            found = self._sampled(key, question) if key.protocol not in PRESETS else self._convened(key, question)
        except (DatabaseError, Interrupted):
            raise
        except QuorumError as error:
            found = _failure(f"{error.code}: {error.detail}")
        except Exception as error:
            logger.exception("%s under %s could not be held", key.question, key.protocol)
            found = _failure(f"internal: {type(error).__name__}: {error}")
        found |= {"field": question.field, "kind": question.kind, "seconds": round(time.monotonic() - began, 3)}
        return Row.model_validate({**key._asdict(), **found})

    def _convened(self, key: Key, question: Question) -> dict[str, Any]:
        title = f"{councils.TITLE} {self.plan.trial} {key.protocol} {key.question} {key.repeat}"
        session = councils.hold(self._table, key.protocol, question, title, self.stop)
        return councils.read(session, question)

    def _sampled(self, key: Key, question: Question) -> dict[str, Any]:
        plan = self.plan
        shown = self._evidence(question) if question.entries else ()
        subject = sampling.Subject(question, shown, plan.models[0], plan.deadline_s, self.stop)
        seed = sampling.seed_of(plan.seed, *key)
        if key.protocol == SINGLE:
            found = _single(question, sampling.single(subject, seed, plan.samples))
        else:
            found = _voted(question, sampling.consistent(subject, seed, plan.tokens))
        spent = subject.spent
        return found | {
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "estimated": spent.estimated,
            "calls": spent.calls,
            "usd": None if spent.usd is None else float(spent.usd),
        }

    def _evidence(self, question: Question) -> tuple[Evidence, ...]:
        context = TurnContext(kind=TurnKind.ANSWER, stage=Stage.OPENING, question=question.question)
        return evidence.retrieve_from(self._packs, prompts.search_query(context), councils.EVIDENCE_K)

    def _tell(self, row: Row) -> None:
        with self._lock:
            self._done += 1
            what = "right" if row.score == 1 else "wrong" if row.score == 0 else f"{row.score:.2f} right"
            what = what if row.status in {"decided", "partial"} else row.status
            self._say(f"{self._done}/{self._total} {row.protocol}, {row.question}: {what}, {row.tokens:,} tokens")
            if row.status == "failed" and row.reason not in self._complaints:
                self._complaints.add(row.reason)
                self._say(f"{row.protocol} failed: {row.reason} (said once; rows have the rest)")


def _failure(reason: str) -> dict[str, Any]:
    return {"status": "failed", "reason": " ".join(reason.split())[:500], "score": 0.0, "first": False}


def _single(question: Question, samples: Sequence[Sample]) -> dict[str, Any]:
    """The mean over answers, of which those that were not given are wrong."""
    rights = [one.said is not None and question.right(one.said) for one in samples]
    given = [one for one in samples if one.said is not None]
    if not given:
        return _failure(samples[-1].reason) | {"samples": tuple(samples), "answers": len(samples)}
    return {
        "status": "decided",
        "reason": next((one.reason for one in samples if one.reason), "")[:500],
        "answer": question.key(given[0].said) if given[0].said else "",
        "score": fmean(rights),
        "first": rights[0],
        "stated": tuple(
            (one.confidence, right)
            for one, right in zip(samples, rights, strict=True)
            if one.said is not None and one.confidence is not None
        ),
        "samples": tuple(samples),
        "answers": len(samples),
    }


def _voted(question: Question, samples: Sequence[Sample]) -> dict[str, Any]:
    chosen = sampling.count(question, samples)
    if chosen.said is None or chosen.confidence is None:
        return _failure(samples[-1].reason) | {"samples": tuple(samples)}
    right = question.right(chosen.said)
    return {
        "status": "decided",
        "answer": question.key(chosen.said),
        "score": float(right),
        "first": right,
        "stated": ((chosen.confidence, right),),
        "samples": tuple(samples),
    }


@contextmanager
def _sweeping() -> Iterator[None]:
    """What beat does every few seconds: retries whose message nobody took, deadlines, leases. Any number of sweepers is safe."""
    over = threading.Event()
    thread = threading.Thread(target=_sweep_until, args=(over,), name="trial-sweeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sweep_until(over: threading.Event) -> None:
    while not over.wait(SWEEP_S):
        try:
            sweeper.sweep()
        except DatabaseError as error:  # whoever works on a question meets it too, and ends the trial
            logger.warning("the sweep failed: %s", error)
        finally:
            connection.close()
