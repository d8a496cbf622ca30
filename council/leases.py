"""One heartbeat per process: renews the leases of all running turns in one statement and cancels the calls of lost ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from council.claims import Claim, renew

logger = logging.getLogger(__name__)


class Heartbeat:
    """Claims held by this process. The thread starts with the first claim and sleeps while there is none."""

    def __init__(self) -> None:
        self._held: dict[UUID, tuple[UUID, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, claim: Claim, lost: Callable[[], None]) -> None:
        """Keep the claim's lease alive; ``lost`` is called (from the heartbeat's thread, once) when it is gone."""
        with self._lock:
            self._held[claim.turn_id] = (claim.token, lost)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="turn-heartbeat", daemon=True)
                self._thread.start()
        self._work.set()

    def release(self, claim: Claim) -> None:
        """The attempt is over, one way or another."""
        self._drop(claim.turn_id, claim.token)

    def _beat(self) -> None:
        while True:
            self._work.wait()
            threading.Event().wait(settings.TURN_HEARTBEAT_S)
            try:
                self._once()
            except DatabaseError as error:
                # The next beat tries again; if none succeeds the leases run out, which is what they are for.
                logger.warning("leases were not renewed: %s", error)
            finally:
                connection.close()  # back to the pool

    def _once(self) -> None:
        with self._lock:
            held = dict(self._held)
            if not held:
                self._work.clear()
                return
        ours = renew({turn: token for turn, (token, _) in held.items()})
        for turn, (token, lost) in held.items():
            if turn not in ours and self._drop(turn, token):
                lost()

    def _drop(self, turn: UUID, token: UUID) -> bool:
        with self._lock:
            if self._held.get(turn, (None,))[0] != token:
                return False  # finished meanwhile, or claimed again by this very process
            del self._held[turn]
            return True


heartbeat = Heartbeat()
