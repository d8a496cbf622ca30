"""`manage.py rotate_model_keys`: seal the keys of all model profiles anew with the first of ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from council import profiles
from council.vault import SealBroken


class Command(BaseCommand):
    help = "Seal the keys of all model profiles anew with the first of ENCRYPTION_KEYS, so that the others can be taken away."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = profiles.rotate_keys()
        except SealBroken as error:
            raise CommandError(f"{error.detail}; nothing was changed") from error
        self.stdout.write(f"{count} {'key' if count == 1 else 'keys'} sealed anew.")
