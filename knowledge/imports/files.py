"""Where uploads and unpacked archives lie while their import needs them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from knowledge.imports.limits import Limits
from knowledge.models import Import
from realtime.ids import uuid7


def limits() -> Limits:
    """The settings, as the child process takes them."""
    return Limits(
        file_bytes=settings.IMPORT_MAX_BYTES,
        unpacked_bytes=settings.IMPORT_MAX_UNPACKED_BYTES,
        members=settings.IMPORT_MAX_FILES,
        items=settings.IMPORT_MAX_ITEMS,
        pages=settings.IMPORT_MAX_PAGES,
        memory_bytes=settings.IMPORT_MEMORY_BYTES,
        seconds=settings.IMPORT_FILE_SECONDS,
        total_seconds=settings.IMPORT_TOTAL_SECONDS,
    )


def folder() -> Path:
    path = Path(settings.DATA_DIR) / "imports"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def create() -> tuple[str, BinaryIO]:
    """A new file that only we may read, and its name for ``Import.path``."""
    name = uuid7().hex
    descriptor = os.open(folder() / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return name, os.fdopen(descriptor, "wb")


def path_of(name: str) -> Path:
    return folder() / name


def remove(name: str) -> None:
    if name:
        path_of(name).unlink(missing_ok=True)


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder for what comes out of an archive, gone afterwards."""
    path = folder() / f"{uuid7().hex}.d"
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def orphans() -> list[Path]:
    """Files and folders older than ``IMPORT_ORPHAN_MINUTES`` that no import names: left by requests and workers that died."""
    before = time.time() - 60 * settings.IMPORT_ORPHAN_MINUTES
    old = [entry for entry in os.scandir(folder()) if _changed_at(entry) < before]
    wanted = set(Import.objects.filter(path__in=[entry.name for entry in old]).values_list("path", flat=True))
    return [Path(entry.path) for entry in old if entry.name not in wanted]


def remove_orphan(path: Path) -> bool:
    """Whether it was there: another worker may be at the same."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return False
    return True


def _changed_at(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return float("inf")  # removed a moment ago: nothing to be done
