"""What names a run, for those who move it without its row."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from council.models import CouncilSession


class RunRef(NamedTuple):
    """The run that is being moved. Most steps need no more of it than this."""

    session_id: UUID
    run_id: UUID
    number: int

    @property
    def stream(self) -> CouncilSession:
        """The owner of the event log, for ``log.append``."""
        return CouncilSession(pk=self.session_id)
