"""Which models are kin. Models of one family err together: nine judges of one family carry about two effective votes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from council.deliberation.types import HUMAN

_SAME = {
    "chatgpt": "gpt",
    "o": "gpt",
    "codellama": "llama",
    "codestral": "mistral",
    "ministral": "mistral",
    "mixtral": "mistral",
}


def family(model: str) -> str:
    """The first word of a model's name without its vendor: "meta-llama/Llama-3.1-8B" is "llama", "gpt-4o-mini" is "gpt"."""
    name = model.rsplit("/", 1)[-1].casefold()
    word = re.match(r"[a-z]+", name)
    first = word.group() if word else name
    return _SAME.get(first, first)


def family_warnings(models: Sequence[str]) -> list[str]:
    """One sentence when all voters' models are of one family; ``models`` as seats name them, "" for the default model. People are of
    no family."""
    seats = "voting seats that are models" if HUMAN in models else "voting seats"
    models = [model for model in models if model != HUMAN]
    if len(models) < 2 or len({family(model) for model in models}) > 1:
        return []
    kin = f"one model family ({family(models[0])})" if models[0] else "the default model"
    return [f"All {len(models)} {seats} are on {kin}: they err together, and agree more than independent voters would."]
