"""OpenAPI details that drf-spectacular cannot guess."""

from __future__ import annotations

from typing import Any


def drop_slash_twins(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Preprocessing hook: every path is served with and without a trailing slash (``urls.route``) but described once."""
    return [endpoint for endpoint in endpoints if not endpoint[0].endswith("/")]
