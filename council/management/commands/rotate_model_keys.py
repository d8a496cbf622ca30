"""`manage.py rotate_model_keys`: seal the keys of model profiles, second factors and webhooks anew with the first of ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.vault import SealBroken
from council import profiles


class Command(BaseCommand):
    help = "Seal the keys of model profiles, second factors and webhooks anew with the first of ENCRYPTION_KEYS; the others can go then."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = profiles.rotate_keys()
        except SealBroken as error:
            raise CommandError(f"{error.detail}; nothing was changed") from error
        self.stdout.write(f"{count} {'key' if count == 1 else 'keys'} sealed anew.")
