"""The one error of the readers."""

from __future__ import annotations


class Refused(Exception):
    """A file that is not read. The message is for the person who sent it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
