"""``/livez``: this process answers. ``/readyz``: what it needs answers too."""

from __future__ import annotations

import redis
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, JsonResponse
from psycopg_pool import PoolTimeout

from realtime import nudge


def livez(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database and Valkey answer, else 503 naming what does not."""
    checks = {"database": _database(), "valkey": _valkey()}
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, PoolTimeout) as error:
        return f"no answer ({type(error).__name__})"
    return "ok"


def _valkey() -> str:
    try:
        nudge.client().ping()
    except (redis.RedisError, OSError) as error:
        return f"no answer ({type(error).__name__})"
    return "ok"
