from __future__ import annotations

import re
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit.verifying import verify


class Command(BaseCommand):
    help = "Check the audit log's chain from its beginning; names the first entry that was changed, removed or inserted, and exits 1."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--seal", metavar="NUMBER:DIGEST", help="a seal as the server's log gave it out, which must be in the chain"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = verify(expected=_seal(options["seal"]) if options["seal"] else None)
        if not found.sound:
            raise CommandError(f"The audit log was tampered with: {found.fault}.")
        self.stdout.write(
            f"The audit log is sound: {found.seals} seals, {found.entries} entries; {found.forgotten} seals whose entries' time "
            f"was up; {found.unsealed} entries not sealed yet."
        )


def _seal(text: str) -> tuple[int, bytes]:
    if not re.fullmatch(r"[1-9][0-9]{0,17}:[0-9a-f]{64}", text):
        raise CommandError("A seal is its number, a colon and 64 hexadecimal digits.")
    number, _, digest = text.partition(":")
    return int(number), bytes.fromhex(digest)
