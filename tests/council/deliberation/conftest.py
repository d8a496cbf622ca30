"""Property tests here are judged by what they find, not by the clock: the machine that runs them may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("deliberation", deadline=None)


def deep() -> bool:
    """Under ``make deep``. This file may be read before the option is, so ask when tests are collected."""
    return settings.get_current_profile_name() == "deep"


if not deep():
    settings.load_profile("deliberation")
