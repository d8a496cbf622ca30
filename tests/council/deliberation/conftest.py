"""Property tests here are judged by what they find, not by the clock: the machine that runs them may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("deliberation", deadline=None)
settings.load_profile("deliberation")
