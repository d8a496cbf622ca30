"""Running claimed turns: read, ask the models, bring the results back.

The thread that runs turns holds no database connection while models work (32 held connections made 3.1 s of calls take 24 s
when measured), and no transaction is ever open across a call.
"""

from __future__ import annotations

import logging
import random
import time
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
from council.desk import Desk
from council.endpoints import route_for
from council.errors import BudgetBusy, BudgetExhausted, Fenced
from council.leases import heartbeat
from council.llm.backoff import backoff
from council.llm.errors import LlmError
from council.models import Run
from council.orchestrator import Failure, Finished, Next
from realtime import log, stopping
from realtime.errors import QuorumError, Unavailable
from realtime.failpoints import failpoint

logger = logging.getLogger(__name__)


SLICE_S = 5.0  # of a worker's thread, for one council
GATHER_S = 0.005  # between replies that count as one batch


def run_turns(session_id: UUID, turn_ids: Sequence[UUID], worker: str, slice_s: float = 0.0) -> None:
    """Claim what can be claimed of these turns and see one attempt of each through.

    For ``slice_s`` seconds the thread then goes on with what its council asks next, without a message in between; after that the
    council lines up behind the others again, so that a few that last do not keep many waiting.
    """
    claimed = _claim(session_id, turn_ids, worker)
    if claimed:
        TurnGroup(worker, time.monotonic() + slice_s).run(claimed)


def run_tally(session_id: UUID, turn_id: UUID, worker: str) -> None:
    """The consensus round: count what was cast and open what follows, in the transaction that claims the turn.

    Counting asks nobody and takes milliseconds. It is pure, so one that fails would fail again: its turn fails at once. Which open
    answers say the same is looked at before, outside of the transaction.
    """
    try:
        alike = likeness.before_count(turn_id)
        with transaction.atomic(), log.gathering():
            for claim in _claim(session_id, [turn_id], worker):
                failpoint("council.tally.claimed")
                orchestrator.finish_tally(claim, count(state.load(claim.run_id), claim.round_number, alike))
        failpoint("council.tally.committed")
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

    def __init__(self, worker: str, until: float) -> None:
        self._worker, self._until = worker, until
        self._due: list[Next] = []
        self._open: list[Conversation] = []
        self._ended: SimpleQueue[Conversation] = SimpleQueue()  # whose call is over

    def run(self, claimed: Sequence[Claim]) -> None:
        self._due.append(Next(claimed))
        try:
            with stopping.held(self._give_back, self._cancel):
                while self._due or self._open:
                    if self._due and stopping.requested():
                        self._hand_back_due()
                    else:
                        self._go_on(self._begin() if self._due else self._wait())
        finally:
            for talk in self._open.copy():
                self._leave(talk)

    def _cancel(self) -> None:
        """This worker is to end. Called from another thread; ours comes back from ``_wait`` then, and hands the turns back."""
        for talk in self._open.copy():
            talk.cancel()

    def _give_back(self) -> None:
        """Whatever our thread is at, it has taken too long. Also called from another thread."""
        talking = {talk.claim: None for talk in self._open.copy()}
        waiting = {claim: None for due in self._due.copy() for claim in due.claims}
        if left := list((talking | waiting).items()):
            orchestrator.hand_back(left)

    def _begin(self) -> list[Conversation]:
        """Conversations of what is due next; it stays due until they are open, so that it is always known what we hold."""
        due = self._due[-1]
        runs = groupby(sorted(due.claims, key=_run), key=_run)  # several where people asked seats about earlier ones
        desks = {run: Desk(list(some), due.state) for run, some in runs}
        begun = []
        for claim in due.claims:
            try:
                desk = desks[claim.run_id]
                talk = Conversation(claim, partial(context.prepare, desk, claim), route_for(desk.model_of(claim)))
            except Unavailable as error:
                orchestrator.fail_attempt(claim, Failure(error.code, error.detail, retry_in=None))
            except Exception:
                logger.exception(_LEFT, claim.turn_id)
            else:
                begun.append(talk)
                heartbeat.hold(claim, talk.cancel)
        self._open += begun
        self._due.pop()
        return begun

    def _wait(self) -> list[Conversation]:
        """Until a call ends; it, and whichever others end with it. Seats that were asked together often answer together, and what
        is stored together costs one transaction instead of several."""
        connection.close()  # back to the pool while the models work
        ended = [self._ended.get()]
        with suppress(Empty):
            while len(ended) < len(self._open):
                ended.append(self._ended.get(timeout=GATHER_S))
        return ended

    def _go_on(self, talks: Sequence[Conversation]) -> None:
        """Take what these have got, ask on, and store what is done."""
        asking: list[tuple[Conversation, Prompt]] = []
        finished: list[tuple[Conversation, Finished]] = []
        broken_off: list[Conversation] = []
        for talk in talks:
            with self._leaving_on_failure(talk):
                step = _advance(talk)
                if isinstance(step, Finished):
                    finished.append((talk, step))
                elif step is None:
                    broken_off.append(talk)
                else:
                    asking.append((talk, step))
        self._together(self._ask, asking)
        self._together(self._finish, finished)
        self._hand_back(broken_off)

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
            failpoint("council.open_calls.reserved")
        failpoint("council.open_calls.committed")
        for (talk, prompt), one in zip(parts, opened, strict=True):
            with self._leaving_on_failure(talk):
                talk.submit(prompt, one, partial(self._ended.put, talk))

    def _finish(self, parts: Parts[Finished]) -> None:
        taker = "" if stopping.over(self._until) else self._worker
        stored = orchestrator.finish([(talk.claim, finished) for talk, finished in parts], taker)
        self._due += stored.next
        for talk, _ in parts:
            if talk.claim.turn_id not in stored.completed:
                logger.info("turn %s was fenced off; its result is discarded", talk.claim.turn_id)
            self._leave(talk)

    def _hand_back_due(self) -> None:
        while self._due:
            orchestrator.hand_back([(claim, None) for claim in self._due[-1].claims])
            self._due.pop()

    def _hand_back(self, talks: Sequence[Conversation]) -> None:
        """This worker is to end: another goes on with the turns, and begins them anew."""
        if talks:
            orchestrator.hand_back([(talk.claim, talk.ended_early()) for talk in talks])
        for talk in talks:
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


def _advance(talk: Conversation) -> Prompt | Finished | None:
    """The next step; None when there is to be none, because this worker is to end. What was said to the end by then counts."""
    try:
        step = talk.advance()
    except Fenced:
        if stopping.requested():
            return None
        raise
    return step if isinstance(step, Finished) or not stopping.requested() else None


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
    again = backoff(talk.claim.attempt, error, random.Random()) if error.retryable else None  # noqa: S311  # spreads a herd; nothing secret
    return Failure(error.code, str(error), again, blame_model=error.blame, settlement=talk.failed(error))


def _exhaust(claim: Claim, error: BudgetExhausted) -> None:
    if claim.kind == TurnKind.REPLY:  # beside the run, which may well get on with what is left
        return orchestrator.fail_attempt(claim, Failure("budget", error.detail, retry_in=None, blame_model=False))
    with transaction.atomic():
        if claims.lock_one(claim):
            run = Run.objects.select_related("session").get(pk=claim.run_id)
            orchestrator.exhaust(run.session, run, "budget")
    return None
