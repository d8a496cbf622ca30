"""`manage.py trial`: questions with known answers under several protocols, at one token budget for each question (docs/trials.md)."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from council.deliberation.families import family_warnings
from council.endpoints import check_models
from council.trials import bench, library, questions, report, rows
from realtime.errors import QuorumError
from realtime.ids import uuid7


class Command(BaseCommand):
    help = "Put a question set before one model, a vote of its answers, and councils; report accuracy, calibration, cost and flips."

    def add_arguments(self, parser: CommandParser) -> None:
        known = ",".join(bench.PROTOCOLS)
        parser.add_argument(
            "--questions", type=Path, default=questions.BUNDLED, help="JSON Lines; the bundled set by default"
        )
        parser.add_argument("--protocols", type=_names, default=bench.PROTOCOLS, help=f"of {known}; all by default")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--model", help="of all seats; the default model by default")
        which.add_argument(
            "--models", type=_names, help="A,B,C: dealt to the seats in turn; the first also answers alone"
        )
        parser.add_argument("--chair", help="model of the chair; the first model by default")
        parser.add_argument("--tokens", type=_positive, default=20_000, help="for each question and protocol, at most")
        parser.add_argument("--seats", type=_positive, default=3, help="that vote")
        parser.add_argument("--repeat", type=_positive, default=1)
        parser.add_argument(
            "--samples", type=_positive, default=3, help="answers of one seat over which 'single' is the mean"
        )
        parser.add_argument("--limit", type=_positive, help="so many questions, drawn from all fields")
        parser.add_argument("--concurrency", type=_positive, default=4, help="questions at a time")
        parser.add_argument("--deadline", type=_positive, default=600, help="seconds that a turn may take")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--packs", choices=("yes", "no"), default="yes", help="whether seats read the bundled pack")
        parser.add_argument("--user", help="email of the user whose councils these are; a service user by default")
        parser.add_argument("--out", type=Path, help="directory; a new one under the data directory by default")
        parser.add_argument(
            "--resume", type=Path, metavar="DIR", help="go on with a trial; all else is as it was begun"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            folder = options["resume"] or self._begin(options)
            trial = bench.Trial(folder, self._say)
            check_models([*trial.plan.models, trial.plan.chair])
            self._warn(trial.plan)
            finished = trial.run()
        except QuorumError as error:
            raise CommandError(error.detail) from error
        except library.NoSuchUser as error:
            raise CommandError(f"There is no user {error}.") from error
        except (bench.TrialRefused, questions.QuestionFault, rows.RowsDamaged) as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"The database cannot be used ({_line(error)}). Is `manage.py up` running?") from error
        if trial.results.rows:
            self.stdout.write("\n" + report.write(trial))
        self.stdout.write(f"\n{folder / 'report.md'}")
        if not finished:
            raise CommandError(f"Interrupted; go on with: manage.py trial --resume {folder}")

    def _begin(self, options: dict[str, Any]) -> Path:
        started = datetime.now(UTC)
        trial = uuid7().hex[-8:]
        folder: Path = options["out"] or settings.DATA_DIR / "trials" / f"{started:%Y%m%d-%H%M%S}-{trial}"
        asked = questions.load(options["questions"])  # first: a faulty file leaves nothing behind
        if options["limit"]:
            asked = questions.select(asked, options["limit"], options["seed"])
        models = tuple(options["models"] or [options["model"] or ""])
        plan = bench.plan(
            trial=trial,
            started_at=f"{started:%Y-%m-%dT%H:%M:%SZ}",
            default=settings.LLM_MODEL,
            protocols=tuple(dict.fromkeys(options["protocols"])),
            models=models,
            chair=models[0] if options["chair"] is None else options["chair"],
            packs=options["packs"] == "yes",
            deadline_s=options["deadline"],
            **{name: options[name] for name in ("tokens", "seats", "repeat", "samples", "concurrency", "seed", "user")},
        )
        check_models([*plan.models, plan.chair])
        bench.create(folder, plan, asked)
        return folder

    def _warn(self, plan: bench.Plan) -> None:
        if set(plan.protocols) - {bench.SINGLE, bench.CONSISTENCY}:
            for warning in family_warnings(
                [plan.models[n % len(plan.models)] or plan.default for n in range(plan.seats)]
            ):
                self._say(str(warning))

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _names(text: str) -> list[str]:
    names = [one.strip() for one in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError("names, separated by commas")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
