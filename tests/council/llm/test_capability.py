from __future__ import annotations

import pytest

from council.llm.capability import style_for
from council.llm.types import Endpoint, Style

SMALL = [
    "SmolLM2-135M-Instruct",
    "smollm2:360m",
    "Qwen2.5-0.5B",
    "qwen3:0.6b",
    "gemma3:1b",
    "TinyLlama-chat",
    "smollm2",
]
LARGE = [
    "gpt-5.2",
    "claude-sonnet-5",
    "llama-3.1-8b",
    "qwen2.5:11b",
    "SmolLM3-3B",
    "qwen3-30b-a3b",
    "mixtral-8x1b",
    "fake",
]


@pytest.mark.parametrize(("model", "style"), [*((m, "guided") for m in SMALL), *((m, "structured") for m in LARGE)])
def test_the_name_tells_small_models(model: str, style: str) -> None:
    assert style_for(Endpoint("http://127.0.0.1/v1", model)) == style


@pytest.mark.parametrize("style", ["guided", "structured"])
def test_an_explicit_style_wins(style: Style) -> None:
    assert style_for(Endpoint("http://127.0.0.1/v1", "smollm2-135m", style=style)) == style
