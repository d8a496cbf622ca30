"""What calls cost, in US dollars."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal
from typing import NamedTuple

from council.llm.types import Usage

NANO = Decimal("1e-9")
MILLION = 1_000_000


class Prices(NamedTuple):
    """US dollars per million tokens. ``cached``: of the prompt's tokens that came from the provider's cache."""

    prompt: Decimal
    completion: Decimal
    cached: Decimal

    def of(self, usage: Usage) -> Decimal:
        """Rounded up to a billionth of a dollar, which is how money is stored."""
        fresh = usage.prompt_tokens - usage.cached_tokens
        parts = fresh * self.prompt + usage.cached_tokens * self.cached + usage.completion_tokens * self.completion
        return (parts / MILLION).quantize(NANO, ROUND_UP)


def prices(prompt: Decimal | None, completion: Decimal | None, cached: Decimal | None) -> Prices | None:
    """None where they are unknown; without a price of its own, what is cached costs what everything costs."""
    if prompt is None or completion is None:
        return None
    return Prices(prompt, completion, prompt if cached is None else cached)
