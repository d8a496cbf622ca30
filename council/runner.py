"""Running claimed turns: read, ask the models, bring the results back.

The thread that runs turns holds no database connection while models work (32 held connections made 3.1 s of calls take 24 s
when measured), and no transaction is ever open across a call.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import TypeVar
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connection, transaction

from council import budgets, claims, context, likeness, orchestrator, state
from council.claims import Claim
from council.conversation import Conversation
from council.counting import count
from council.deliberation.parsing import ReplyError
from council.deliberation.types import Prompt, TurnKind
from council.endpoints import route_for
from council.errors import BudgetBusy, BudgetExhausted, Fenced
from council.leases import heartbeat
from council.llm.backoff import backoff
from council.llm.errors import LlmError
from council.models import Run
from council.orchestrator import Failure, Finished
from realtime import log
from realtime.errors import QuorumError, Unavailable

logger = logging.getLogger(__name__)


def run_turns(session_id: UUID, turn_ids: Sequence[UUID], worker: str) -> None:
    """Claim what can be claimed of these turns and see one attempt of each through."""
    claimed = _claim(session_id, turn_ids, worker)
    if claimed:
        TurnGroup(claimed).run()


def run_tally(session_id: UUID, turn_id: UUID, worker: str) -> None:
    """The consensus round: count what was cast and open what follows, in the transaction that claims the turn.

    Counting asks nobody and takes milliseconds. It is pure, so one that fails would fail again: its turn fails at once. Which open
    answers say the same is looked at before, outside of the transaction.
    """
    try:
        alike = likeness.before_count(turn_id)
        with transaction.atomic(), log.gathering():
            for claim in _claim(session_id, [turn_id], worker):
                orchestrator.finish_tally(claim, count(state.load(claim.run_id), claim.round_number, alike))
    except (DatabaseError, QuorumError):
        raise
    except Exception as error:
        logger.exception("turn %s could not be counted", turn_id)
        for claim in _claim(session_id, [turn_id], worker):
            orchestrator.fail_attempt(claim, Failure("count_failed", str(error), retry_in=None, blame_model=False))


def _claim(session_id: UUID, turn_ids: Sequence[UUID], worker: str) -> list[Claim]:
    claimed = claims.claim(session_id, turn_ids, worker)
    for turn_id in claimed.late:
        orchestrator.expire(turn_id)
    return claimed.claims


T = TypeVar("T")
Parts = Sequence[tuple[Conversation, T]]


def _run(claim: Claim) -> UUID:
    return claim.run_id


class TurnGroup:
    """Turns of one session that were claimed together, driven by one thread.

    It asks all their models at once and takes replies as they come; those that come together are stored together. Each turn is
    an attempt of its own all the same: whatever becomes of one, the others go on.
    """

    def __init__(self, claimed: Sequence[Claim]) -> None:
        self._claimed = claimed
        self._open: list[Conversation] = []
        self._ended: SimpleQueue[Conversation] = SimpleQueue()  # whose call is over

    def run(self) -> None:
        try:
            self._begin()
            self._go_on(self._open.copy())
            while self._open:
                connection.close()  # back to the pool while the models work
                self._go_on(self._wait())
        finally:
            for talk in self._open.copy():
                self._leave(talk)

    def _begin(self) -> None:
        desks = {run: context.Desk(list(some)) for run, some in groupby(sorted(self._claimed, key=_run), key=_run)}
        for claim in self._claimed:
            try:
                assignment = context.prepare(desks[claim.run_id], claim)
                talk = Conversation(claim, assignment, route_for(assignment.model))
            except Unavailable as error:
                orchestrator.fail_attempt(claim, Failure(error.code, error.detail, retry_in=None))
            except Exception:
                logger.exception(_LEFT, claim.turn_id)
            else:
                self._open.append(talk)
                heartbeat.hold(claim, talk.cancel)

    def _wait(self) -> list[Conversation]:
        """Until a call ends; it, and whichever others have ended by then."""
        ended = [self._ended.get()]
        with suppress(Empty):
            while True:
                ended.append(self._ended.get_nowait())
        return ended

    def _go_on(self, talks: Sequence[Conversation]) -> None:
        """Take what these have got, ask on, and store what is done."""
        asking: list[tuple[Conversation, Prompt]] = []
        finished: list[tuple[Conversation, Finished]] = []
        for talk in talks:
            with self._leaving_on_failure(talk):
                step = talk.advance()
                if isinstance(step, Finished):
                    finished.append((talk, step))
                else:
                    asking.append((talk, step))
        self._together(self._ask, asking)
        self._together(self._finish, finished)

    def _together(self, action: Callable[[Parts[T]], None], parts: Parts[T]) -> None:
        """Do it for all in one transaction; when that fails, for each alone, so that no seat pays for another's failure."""
        if len(parts) > 1:
            with suppress(DatabaseError, BudgetExhausted, BudgetBusy):
                return action(parts)
        for part in parts:
            with self._leaving_on_failure(part[0]):
                action([part])
        return None

    def _ask(self, parts: Parts[Prompt]) -> None:
        with transaction.atomic():
            budgets.settle([talk.last_settlement for talk, _ in parts if talk.last_settlement is not None])
            opened = budgets.open_calls([talk.call_for(prompt) for talk, prompt in parts])
        for (talk, prompt), one in zip(parts, opened, strict=True):
            with self._leaving_on_failure(talk):
                talk.submit(prompt, one, partial(self._ended.put, talk))

    def _finish(self, parts: Parts[Finished]) -> None:
        stored = orchestrator.finish([(talk.claim, finished) for talk, finished in parts])
        for talk, _ in parts:
            if talk.claim.turn_id not in stored:
                logger.info("turn %s was fenced off; its result is discarded", talk.claim.turn_id)
            self._leave(talk)

    def _leave(self, talk: Conversation) -> None:
        self._open.remove(talk)
        heartbeat.release(talk.claim)
        talk.close()

    @contextmanager
    def _leaving_on_failure(self, talk: Conversation) -> Iterator[None]:
        try:
            yield
        except (Fenced, BudgetExhausted, BudgetBusy, LlmError, ReplyError) as error:
            _give_up(talk, error)
            self._leave(talk)
        except Exception:
            logger.exception(_LEFT, talk.claim.turn_id)
            self._leave(talk)


BUSY_S, BUSY_MAX_S = 0.1, 5.0  # a turn that waits for the budget asks again after twice the first, then ever later
_LEFT = "turn %s is left to its lease: the sweeper gives it back"


def _give_up(talk: Conversation, error: Fenced | BudgetExhausted | BudgetBusy | LlmError | ReplyError) -> None:
    """Store why an attempt ended without a result, and what it cost."""
    claim = talk.claim
    match error:
        case Fenced():
            talk.settle_lost()
        case BudgetExhausted():
            talk.settle_lost()
            _exhaust(claim, error)
        case BudgetBusy():
            again = min(BUSY_S * 2 ** min(claim.attempt, 8), BUSY_MAX_S)
            failure = Failure(error.code, error.detail, again, blame_model=False, settlement=talk.last_settlement)
            orchestrator.fail_attempt(claim, failure)
        case LlmError():
            orchestrator.fail_attempt(claim, _model_failure(talk, error))
        case ReplyError():
            again = random.uniform(0, 0.2)  # noqa: S311  # spreads a herd; nothing secret
            failure = Failure(error.code, error.detail, again, settlement=talk.last_settlement)
            orchestrator.fail_attempt(claim, failure)


def _model_failure(talk: Conversation, error: LlmError) -> Failure:
    again = backoff(talk.claim.attempt, error, random.Random()) if error.retryable else None  # noqa: S311
    return Failure(error.code, str(error), again, blame_model=error.blame, settlement=talk.failed(error))


def _exhaust(claim: Claim, error: BudgetExhausted) -> None:
    if claim.kind == TurnKind.REPLY:  # beside the run, which may well get on with what is left
        return orchestrator.fail_attempt(claim, Failure("budget", error.detail, retry_in=None, blame_model=False))
    with transaction.atomic():
        if claims.lock_one(claim):
            run = Run.objects.select_related("session").get(pk=claim.run_id)
            orchestrator.exhaust(run.session, run, "budget")
    return None
