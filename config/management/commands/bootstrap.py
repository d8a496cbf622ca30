from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from accounts.models import User
from accounts.services import create_api_key, user_for_key
from config.demo import install_demo

ADMIN_EMAIL = "admin@quorum.localhost"
KEY_NAME = "manage.py up"


class Command(BaseCommand):
    help = (
        "Make the first admin, an API key and the demo content; safe to repeat. Writes D/credentials.json (mode 0600)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default=settings.PUBLIC_URL)
        parser.add_argument("--no-demo", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.DATA_DIR / "credentials.json"
        admin, credentials = _credentials(_read(path))
        _write(path, {"url": options["url"], **credentials})
        if not options["no_demo"]:
            install_demo(admin)


def _read(path: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known


def _credentials(known: dict[str, str]) -> tuple[User, dict[str, str]]:
    """The admin and what opens its doors. What the file says is kept while it still works, so a restart changes nothing."""
    email = known.get("admin_email", ADMIN_EMAIL)
    password = known.get("admin_password") or secrets.token_urlsafe(12)
    admin = User.objects.filter(email__iexact=email).first()
    if admin is None:
        admin = User.objects.create_superuser(email, password, name="Admin")
    elif "admin_password" not in known:
        admin.set_password(password)
        admin.save(update_fields=["password"])
    key = known.get("api_key", "")
    if user_for_key(key) != admin:
        key = create_api_key(admin, KEY_NAME)[1]
    return admin, {"admin_email": email, "admin_password": password, "api_key": key}


def _write(path: Path, values: dict[str, str]) -> None:
    """Never readable by others, not even for a moment, and never half written."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(values, file, indent=2)
    fresh.replace(path)
