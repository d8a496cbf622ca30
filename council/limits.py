"""How much of a model may be used at once and in a minute, counted in Valkey over all workers.

Three numbers of a profile: calls at the same time, calls and tokens in any 60 seconds. One Lua script decides and takes at once, so
workers cannot pass a limit together. The minute is a sliding window, not a bucket: a bucket that starts full lets up to twice its
size through in the first minute. A place among the calls that run is a lease of ``LEASE_S``, renewed by its process; a worker that
dies holds its places no longer than that.

When Valkey does not answer, calls are made uncounted (``docs/decisions/010``): the provider has limits of its own and its 429 is
handled, whereas a council that stands still because a cache is down would break the promise that losing it loses nothing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from uuid import UUID

import redis
from prometheus_client import Counter

from council.llm.types import Usage
from realtime import nudge

logger = logging.getLogger(__name__)

WINDOW_S = 60
LEASE_S = 15.0
RENEW_S = 4.0
PAUSE_AFTER_FAILURE_S = (
    5.0  # Valkey is left alone for so long, so that a frozen one costs one call its 0.5 s and not every call
)
ASK_AGAIN_S = (0.05, 1.0)  # least and most between two questions for a place
UNCOUNTED = Counter("quorum_model_calls_uncounted_total", "Model calls that no limit was applied to: Valkey was away")

# KEYS: the calls that run (scored by the end of their lease), those of the window (by their beginning), their tokens (and "total").
# Times in milliseconds, by Valkey's clock alone: workers' clocks differ.
_PRUNE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[1]))) do
    redis.call('HINCRBY', KEYS[3], 'total', -tonumber(redis.call('HGET', KEYS[3], old) or 0))
    redis.call('HDEL', KEYS[3], old)
    redis.call('ZREM', KEYS[2], old)
end
"""
# ARGV: window, lease, id, tokens, calls at once, calls a minute, tokens a minute (0: no limit). Answers 0 (taken), or how many
# milliseconds until it is worth asking again; -1: when one of the running calls has ended, whenever that is.
# A call of more tokens than the limit is let in when the window is empty: it would wait for ever otherwise.
_ENTER = (
    _PRUNE
    + """
local window, lease, id, tokens = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local at_once, calls, most = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local wait = 0
local made = redis.call('ZCARD', KEYS[2])
if calls > 0 and made >= calls then
    wait = redis.call('ZRANGE', KEYS[2], made - calls, made - calls, 'WITHSCORES')[2] + window - now + 1
end
local total = tonumber(redis.call('HGET', KEYS[3], 'total') or 0)
if most > 0 and made > 0 and total + tokens > most then
    local left = total
    local log = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
    for at = 1, #log, 2 do
        left = left - tonumber(redis.call('HGET', KEYS[3], log[at]) or 0)
        if left + tokens <= most or at + 1 == #log then
            wait = math.max(wait, log[at + 1] + window - now + 1)
            break
        end
    end
end
if wait > 0 then return math.ceil(wait) end
if at_once > 0 and redis.call('ZCARD', KEYS[1]) >= at_once then return -1 end
redis.call('ZADD', KEYS[1], now + lease, id)
redis.call('ZADD', KEYS[2], now, id)
redis.call('HSET', KEYS[3], id, tokens)
redis.call('HINCRBY', KEYS[3], 'total', tokens)
redis.call('PEXPIRE', KEYS[1], lease + 1000)
redis.call('PEXPIRE', KEYS[2], window + 1000)
redis.call('PEXPIRE', KEYS[3], window + 1000)
return 0
"""
)
# ARGV: id, tokens that were used: what was reserved and not used is there again at once.
_LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
local reserved = redis.call('HGET', KEYS[3], ARGV[1])
if reserved then
    redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
    redis.call('HINCRBY', KEYS[3], 'total', tonumber(ARGV[2]) - tonumber(reserved))
end
"""
# ARGV: lease, ids. A lease that ran out is not renewed: its place may be another's by now.
_RENEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 2, #ARGV do
    local ends = redis.call('ZSCORE', KEYS[1], ARGV[at])
    if ends and tonumber(ends) > now then redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[at]) end
end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[1]) + 1000)
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a profile allows; 0 is no limit. ``key`` names the profile in Valkey; ``wait_s``: how long a call may wait for its place."""

    key: str = ""
    at_once: int = 0
    calls_per_minute: int = 0
    tokens_per_minute: int = 0
    wait_s: float = 30.0

    @property
    def any(self) -> bool:
        return bool(self.at_once or self.calls_per_minute or self.tokens_per_minute)


NO_LIMITS = Limits()


def _keys(name: str) -> list[str]:
    # In braces what a cluster would keep together, should there ever be one.
    return [f"quorum:model:{{{name}}}:{part}" for part in ("running", "window", "tokens")]


class Place:
    """One call's place at a model: the ``Gate`` that it passes. ``tokens`` is what the call has reserved."""

    def __init__(self, limits: Limits, call: UUID, tokens: int) -> None:
        self._keys, self._limits, self._id, self._tokens = _keys(limits.key), limits, str(call), tokens
        self._counted = False

    @property
    def patience_s(self) -> float:
        return self._limits.wait_s

    def enter(self) -> float:
        limits = self._limits
        given: list[int | str] = [
            round(WINDOW_S * 1000), round(LEASE_S * 1000), self._id, self._tokens, limits.at_once, limits.calls_per_minute,
            limits.tokens_per_minute,
        ]  # fmt: skip
        answer = _ask(_ENTER, self._keys, given)
        if answer is None:
            UNCOUNTED.inc()
            return 0
        if answer == 0:
            self._counted = True
            _renewer.add(self._keys[0], self._id)
            return 0
        least, most = ASK_AGAIN_S
        # A call that ends leaves its place at any time; what waits for the minute knows when. The jitter parts the herd.
        wait = random.uniform(least, 5 * least) if answer < 0 else min(max(answer / 1000, least), most)  # noqa: S311  # spreads a herd; nothing secret
        return wait * random.uniform(1, 1.2)  # noqa: S311  # spreads a herd; nothing secret

    def leave(self, usage: Usage) -> None:
        if self._counted:
            _renewer.drop(self._keys[0], self._id)
            _ask(_LEAVE, self._keys, [self._id, usage.total])


@dataclass
class _Breaker:
    """Per process: until when (monotonic seconds) Valkey is not asked again."""

    closed_until: float = 0.0


breaker = _Breaker()


def _ask(script: str, keys: list[str], given: list[int | str]) -> int | None:
    """The script's number, or None when Valkey does not answer."""
    if time.monotonic() < breaker.closed_until:
        return None
    try:
        return int(nudge.client().register_script(script)(keys=keys, args=given) or 0)
    except (redis.RedisError, OSError) as error:
        breaker.closed_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
        logger.warning("limits of models are not counted: Valkey does not answer (%s)", type(error).__name__)
        return None


class _Renewer:
    """One thread per process that renews the leases of its running calls. It starts with the first and sleeps while there is none."""

    def __init__(self) -> None:
        self._held: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, key: str, call: str) -> None:
        with self._lock:
            self._held.setdefault(key, set()).add(call)
            if self._thread is None or not self._thread.is_alive():  # after a fork there is none
                self._thread = threading.Thread(target=self._run, name="model-places", daemon=True)
                self._thread.start()
        self._work.set()

    def drop(self, key: str, call: str) -> None:
        with self._lock:
            calls = self._held.get(key, set())
            calls.discard(call)
            if not calls:
                self._held.pop(key, None)

    def _run(self) -> None:
        pause = threading.Event().wait
        while True:
            self._work.wait()
            pause(RENEW_S)
            with self._lock:
                held = {key: sorted(calls) for key, calls in self._held.items()}
                if not held:
                    self._work.clear()
            for key, calls in held.items():
                _ask(_RENEW, [key], [round(LEASE_S * 1000), *calls])


_renewer = _Renewer()
