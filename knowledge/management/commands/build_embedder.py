"""``manage.py build_embedder``: make the fast embedding model now instead of at the first use."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from knowledge import minilm
from knowledge.errors import EmbeddingError


class Command(BaseCommand):
    help = "Builds the int8 embedding model in the data directory, or checks the one that is there."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:  # Django's signature
        try:
            path = minilm.ensure_built()
        except EmbeddingError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{path} is ready")
