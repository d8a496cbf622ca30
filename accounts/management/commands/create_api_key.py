from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from accounts.scopes import ALL
from accounts.services import create_api_key
from realtime.errors import InvalidInput


class Command(BaseCommand):
    help = "Creates an API key for a user and prints it: the only time it can be seen."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="command line", help="what the key is for")
        parser.add_argument(
            "--scope",
            dest="scopes",
            action="append",
            choices=[str(scope) for scope in ALL],
            help="repeat; all by default",
        )

    def handle(self, *args: Any, email: str, name: str, scopes: list[str] | None = None, **options: Any) -> None:
        user = User.objects.by_email(email).first()
        if user is None:
            raise CommandError(f"There is no user with the email address {email}.")
        try:
            _, plaintext = create_api_key(user, name, scopes=scopes or ALL)
        except InvalidInput as error:
            raise CommandError(error.detail) from error
        self.stdout.write(plaintext)
