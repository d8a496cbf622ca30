from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from council.deliberation.simulation import experiments, report


class Command(BaseCommand):
    help = "Put synthetic voters before the real ballots and the real count; compare rules and stages with theory."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--trials", type=int, default=2_000, help="for each row of each table")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--svg", type=Path, help="where to write the plot of the jury theorem")
        parser.add_argument("--write", action="store_true", help="into docs/deliberation.md and its plot")

    def handle(self, *args: Any, **options: Any) -> None:
        trials, seed = options["trials"], options["seed"]
        if trials < 2:
            raise CommandError("At least 2 trials.")
        jury = experiments.jury(trials, seed)
        found = report.tables(trials, seed, jury)
        self.stdout.write(found)
        docs = Path(settings.BASE_DIR) / "docs"
        if options["write"]:
            page = docs / "deliberation.md"
            page.write_text(report.insert(page.read_text("utf-8"), found), "utf-8")
        plot = options["svg"] or (docs / "jury-theorem.svg" if options["write"] else None)
        if plot:
            plot.write_text(report.plot(jury), "utf-8")
