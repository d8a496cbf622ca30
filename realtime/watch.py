"""One watcher of one stream, whatever carries its frames: admitted, authorised, joined, and checked again while it stays."""

from __future__ import annotations

import asyncio
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser

from realtime import limits
from realtime.auth import Identity, Refused
from realtime.db import query
from realtime.errors import Forbidden, NotFound
from realtime.feed import Feed
from realtime.frames import Close
from realtime.outbox import Outbox
from realtime.presence import Mark
from realtime.reader import DATABASE_DOWN, StreamReader
from realtime.sources import StreamSource

# Django tells of a sign-out before it deletes the session, so a check that passes is repeated once after this time.
SETTLE_S = 1.0


class Watch:
    """``outbox`` is what the carrier sends; ``guard`` runs beside it and ends with the reason to stop."""

    def __init__(self, feed: Feed, source: StreamSource, stream_id: UUID, identity: Identity) -> None:
        self.outbox = Outbox()
        self._feed, self._source, self._stream_id, self._identity = feed, source, stream_id, identity
        self._reader: StreamReader | None = None
        self._mark: Mark | None = None
        self._admitted = False

    async def open(self, last_seq: int | None) -> None:
        """Join the stream after event ``last_seq``. Raises ``Refused``. ``close`` must follow in any case."""
        self._identity.require(self._source.scopes)
        if self._feed.closing:
            raise Refused(Close.RESTART)
        self._admitted = self._feed.admit(self._identity.user_id, self.outbox)
        if not self._admitted:
            raise Refused(Close.TOO_MANY)
        try:
            code = await query(access, self._source, self._identity.user, self._stream_id)
            if code is not None:
                raise Refused(code)
            await self._join(last_seq)
        except NotFound as error:
            raise Refused(Close.UNKNOWN) from error
        except DATABASE_DOWN as error:
            raise Refused(Close.RESTART) from error

    async def guard(self) -> int:
        """Check access every ``RECHECK_S`` and whenever asked to; return the close code once there is one."""
        pause = limits.RECHECK_S
        while self.outbox.code is None:
            asked = await self._asked_within(pause)
            if self.outbox.code is None and (code := await self._recheck()) is not None:
                self.outbox.close(code)
            pause = SETTLE_S if asked else limits.RECHECK_S
        return self.outbox.code

    def close(self) -> None:
        if self._reader is not None:
            self._reader.leave(self.outbox)
            if self._mark is not None:
                self._feed.leave(self._identity.user_id, self._mark)
                self._mark = None
            self._feed.release(self._reader)
            self._reader = None
        if self._admitted:
            self._feed.dismiss(self._identity.user_id, self.outbox)
            self._admitted = False

    async def _join(self, last_seq: int | None) -> None:
        self._reader = self._feed.hold(self._source, self._stream_id)
        if self._source.shows_work:
            self._mark = self._feed.enter(self._reader, self._identity.user_id, self._identity.credential)
        await self._reader.join(self.outbox, last_seq)

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):  # Python 3.11's wait_for can swallow the cancellation that ends us
                await self.outbox.attention.wait()
        except TimeoutError:
            return False
        self.outbox.attention.clear()
        return True

    async def _recheck(self) -> Close | None:
        """While access cannot be checked nobody keeps it: the watcher is sent away to come back."""
        try:
            if not await query(self._identity.still_valid):
                return Close.SIGNED_OUT
            return await query(access, self._source, self._identity.user, self._stream_id)
        except DATABASE_DOWN:
            return Close.RESTART


def access(source: StreamSource, user: AbstractBaseUser, stream_id: UUID) -> Close | None:
    """The reason why the user may not watch the stream, if there is one. Runs queries."""
    try:
        return None if source.authorise(user, stream_id) else Close.UNKNOWN
    except NotFound:
        return Close.UNKNOWN
    except Forbidden:
        return Close.FORBIDDEN
