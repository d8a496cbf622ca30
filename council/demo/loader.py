"""Reads the bundled council templates from ``templates.json``. Standard library only, no database.

Errors: ``TemplateContentError`` (a ValueError) says which template has missing or unknown keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


class TemplateContentError(ValueError):
    """The bundled file is malformed: a mistake of ours, so it stops the import instead of skipping a template."""


@dataclass(frozen=True, slots=True)
class DemoAgent:
    name: str
    role: str
    instructions: str  # also steers what the seat searches for, so each one names its own subjects
    chair: bool = False


@dataclass(frozen=True, slots=True)
class DemoTemplate:
    """One council, ready to convene: who sits, by which protocol, and a question to try it on."""

    slug: str
    title: str
    description: str
    pack: str  # slug of a bundled knowledge pack
    question: str
    options: tuple[str, ...]  # empty = open question
    protocol: Mapping[str, Any]  # preset and overrides, in the shape that the sessions API takes
    agents: tuple[DemoAgent, ...]


def load_templates() -> tuple[DemoTemplate, ...]:
    """All bundled templates, in the order of the file."""
    text = files(__package__).joinpath("templates.json").read_text(encoding="utf-8")
    return tuple(parse_template(values) for values in json.loads(text))


def parse_template(values: Mapping[str, Any]) -> DemoTemplate:
    """A template from its JSON object."""
    try:
        agents = tuple(DemoAgent(**agent) for agent in values["agents"])
        return DemoTemplate(**{**values, "options": tuple(values["options"]), "agents": agents})
    except (KeyError, TypeError) as error:
        raise TemplateContentError(f"template {values.get('slug', '?')}: {error}") from error
