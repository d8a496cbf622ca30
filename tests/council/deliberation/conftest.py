"""Property tests here are judged by what they find, not by the clock: the machine that runs them may be busy."""

from __future__ import annotations

from hypothesis import settings

DEEP = settings.get_current_profile_name() == "deep"  # make deep

settings.register_profile("deliberation", deadline=None)
if not DEEP:
    settings.load_profile("deliberation")
