"""`manage.py check_model`: ask a model a few short questions and say, one line each, what it can do."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from council.endpoints import Model, as_model, route_for
from council.modelcheck import check
from council.models import ModelProfile
from realtime.errors import QuorumError


class Command(BaseCommand):
    help = (
        "Check a model: reachable, streams, schema, usage, speed. Fails when it does not answer or cannot fill a form."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("slug", nargs="?", help="of a model profile, switched on or off")
        which.add_argument("--default", action="store_true", help="the model that the settings name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            model = route_for("")[0] if options["default"] else _profile(options["slug"])
        except QuorumError as error:
            raise CommandError(error.detail) from error
        failed = []
        for one in check(model):
            self.stdout.write(f"{'ok  ' if one.passed else 'FAIL'} {one.name:<9} {one.detail}")
            if not one.passed:
                failed.append(one.name)
        # A council manages without streaming and without usage, and says so; not without these.
        if serious := [name for name in failed if name in {"reachable", "schema"}]:
            raise CommandError(f"not fit for councils: {', '.join(serious)}")


def _profile(slug: str) -> Model:
    profile = ModelProfile.objects.filter(slug=slug).first()
    if profile is None:
        raise CommandError(f"There is no model profile {slug!r}.")
    return as_model(profile)
