"""``manage.py restart``: renew the web server, the workers and beat of a running ``manage.py up`` without an outage."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.embedded.errors import EmbeddedError
from config.embedded.restarting import ORDER, restart
from config.embedded.state import DataDir


class Command(BaseCommand):
    help = (
        "Restart processes of a running `manage.py up`, one after the other. No request is refused and no turn is lost."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ORDER)}; all, in this order, without")

    def handle(self, *args: Any, **options: Any) -> None:
        if unknown := sorted(set(options["names"]) - set(ORDER)):
            raise CommandError(f"No such process: {', '.join(unknown)}. There are: {', '.join(ORDER)}")
        try:
            restart(DataDir(settings.DATA_DIR), options["names"] or ORDER, self.stdout.write)
        except EmbeddedError as error:
            raise CommandError(str(error)) from error
