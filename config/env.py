"""Every setting that comes from outside: environment variables first, then what ``manage.py up`` wrote down, then a default.

``manage.py up`` records the servers it started in ``<data dir>/services.json``; any other command run beside it (a shell, a
worker, ``recount``) reads that file and so finds the same servers without being told. A bad value raises
``ImproperlyConfigured`` with one line that names the variable.
"""

from __future__ import annotations

import json
import os
import secrets
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import unquote as percent_decode
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def data_dir() -> Path:
    return Path(os.environ.get("QUORUM_DATA_DIR") or BASE_DIR / "var").resolve()


def services() -> dict[str, str]:
    """Servers started by ``manage.py up`` for this data directory; empty when none run."""
    try:
        found = json.loads((data_dir() / "services.json").read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ImproperlyConfigured(f"{data_dir() / 'services.json'} is not readable JSON: {error}") from error
    return {key: value for key, value in found.items() if isinstance(value, str)}


SERVICES = services()


def url(name: str, schemes: tuple[str, ...], default: str = "") -> str:
    """A URL setting from the environment, the running stack or ``default``; its scheme must be one of ``schemes``."""
    value = os.environ.get(name) or SERVICES.get(name.lower(), default)
    if value and urlsplit(value).scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must start with one of {', '.join(s + '://' for s in schemes)}")
    return value


def integer(name: str, default: int, *, at_least: int = 0) -> int:
    raw = os.environ.get(name, "")
    if not raw:
        return default
    if not raw.lstrip("-").isdigit() or int(raw) < at_least:
        raise ImproperlyConfigured(f"{name} must be a whole number of at least {at_least}, not {raw!r}")
    return int(raw)


def decimal(name: str) -> Decimal | None:
    """A number of at least 0; None when it is not set."""
    raw = os.environ.get(name, "")
    if not raw:
        return None
    try:
        value = Decimal(raw)
    except InvalidOperation as error:
        raise ImproperlyConfigured(f"{name} must be a number, not {raw!r}") from error
    if not value.is_finite() or value < 0:
        raise ImproperlyConfigured(f"{name} must be a number of at least 0, not {raw!r}")
    return value


def boolean(name: str, *, default: bool) -> bool:
    try:
        return bool(env.bool(name, default=default))
    except (ValueError, environ.ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"{name} must be true or false") from error


def words(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """A comma-separated list."""
    raw = os.environ.get(name, "")
    return [word.strip() for word in raw.split(",") if word.strip()] if raw else list(default)


def choice(name: str, allowed: tuple[str, ...], default: str) -> str:
    value = os.environ.get(name) or default
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def secret(name: str, length: int = 50) -> str:
    """A secret from the environment, else one generated once and kept (mode 0600) in the data directory."""
    if value := os.environ.get(name):
        return value
    path = data_dir() / f"{name.lower()}.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: of two processes that start together one writes and the other reads what it wrote.
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(length))
    return path.read_text().strip()


def text(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


def rate(name: str, default: str) -> str:
    """A rate such as 600/m; "off" is no limit, written as an empty one."""
    given = text(name, default)
    return "" if given == "off" else given


def unquote(part: str | None) -> str:
    """A percent-encoded part of a URL as it was meant; empty when absent."""
    return percent_decode(part or "")
