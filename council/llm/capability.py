"""How much structure a model can be trusted with.

*structured*: one call per turn, the whole turn as one JSON object. *guided*: one short constrained question per
field, for models too small to fill a form. An endpoint's explicit ``style`` wins; ``auto`` looks at the name, because
no endpoint tells its parameter count: known small families, and sizes below 2 billion written in the name (``135m``,
``0.5b``, ``1.7b``).
"""

from __future__ import annotations

import re
from typing import Literal

from council.llm.types import Endpoint

_SMALL_FAMILY = re.compile(r"smollm2?(?!\d)|tinyllama")  # SmolLM3 has 3 billion and fills forms
# 135m, 0.5b, 1b, 1.7b but neither 11b nor 3.1b; not glued to a letter, as in the "a3b" of mixtures of experts.
_SMALL_SIZE = re.compile(r"(?<![a-z0-9.])(?:\d{2,3}m|[01](?:\.\d+)?b)(?![a-z0-9])")


def style_for(endpoint: Endpoint) -> Literal["structured", "guided"]:
    if endpoint.style != "auto":
        return endpoint.style
    name = endpoint.model.lower()
    small = _SMALL_FAMILY.search(name) or _SMALL_SIZE.search(name)
    return "guided" if small else "structured"
