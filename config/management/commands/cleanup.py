"""``manage.py cleanup``: what beat has cleaned on a schedule, by hand and now."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.cleaning import BY_NAME, CLEANERS, Cleaner
from realtime import cleaning


class Command(BaseCommand):
    help = "Remove what is of no use any more, and print what each cleaner did. Safe at any time, beside the scheduled ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BY_NAME)}; all without a name")
        parser.add_argument("--dry-run", action="store_true", help="only say how much there is")

    def handle(self, *args: Any, **options: Any) -> None:
        if unknown := sorted(set(options["names"]) - BY_NAME.keys()):
            raise CommandError(f"No such cleaner: {', '.join(unknown)}. There are: {', '.join(BY_NAME)}")
        chosen = [BY_NAME[name] for name in options["names"]] or list(CLEANERS)
        failed = [one.name for one in chosen if not self._clean(one, dry_run=options["dry_run"])]
        if failed:
            raise CommandError(f"Failed: {', '.join(failed)}")

    def _clean(self, cleaner: Cleaner, *, dry_run: bool) -> bool:
        """Whether it worked; the others have their turn all the same."""
        try:
            done = _count(cleaner) if dry_run else _clean(cleaner)
        except Exception as error:  # noqa: BLE001  # told to the person who asked, and by the exit status
            self.stderr.write(f"{cleaner.name:<16} {type(error).__name__}: {error}")
            return False
        self.stdout.write(f"{cleaner.name:<16} {done:<14} {cleaner.what}")
        return True


def _count(cleaner: Cleaner) -> str:
    return f"{cleaner.cleaning.count()} to clean"


def _clean(cleaner: Cleaner) -> str:
    return f"{cleaning.run(cleaner.name, cleaner.cleaning).removed} cleaned"
