"""Where uploads and unpacked archives lie while their import needs them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from django.conf import settings

from knowledge.imports.limits import Limits
from knowledge.models import Import
from realtime.ids import uuid7

ORPHAN_S: Final = 3600.0  # older than this, a file that no import names was left by a request or a worker that died


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


def remove_orphans() -> int:
    """Remove what dead requests and workers have left; the number of files and folders."""
    now = time.time()
    old = [path for path in folder().iterdir() if now - path.stat().st_mtime > ORPHAN_S]
    if not old:
        return 0
    wanted = set(Import.objects.filter(path__in=[path.name for path in old]).values_list("path", flat=True))
    orphans = [path for path in old if path.name not in wanted]
    for path in orphans:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(orphans)
