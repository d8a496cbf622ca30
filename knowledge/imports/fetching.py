"""Web pages for imports: only from hosts that the settings allow, only through the guard of ``realtime.outbound``."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from django.conf import settings

from knowledge.imports.limits import Job, Limits
from knowledge.imports.sniff import EXTENSIONS, MEDIA_TYPES
from realtime.addresses import Blocked
from realtime.outbound import Fetcher, FetchFailed

TOTAL_S = 30.0


def fetcher() -> Fetcher:
    return Fetcher(settings.IMPORT_URL_ALLOWLIST, total_s=TOTAL_S)


def fetch(url: str, target: Path, limits: Limits) -> Job | str:
    """The page, stored at ``target``; or why there is none."""
    try:
        page = fetcher().get(url, max_bytes=limits.file_bytes)
    except (Blocked, FetchFailed) as error:
        return error.detail
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(page.body)
    return Job(str(target), _name(page.url, page.media_type), page.media_type, source_url=url)


def _name(url: str, media_type: str) -> str:
    """The address without query, with an extension that says what the server says it is."""
    parts = urlsplit(url)
    name = f"{parts.hostname}{parts.path.rstrip('/') or '/index'}"
    wanted = MEDIA_TYPES.get(media_type)
    known = EXTENSIONS.get(PurePosixPath(name).suffix.lower())
    # text/plain is what servers say of Markdown and tables too: there the name knows better.
    if wanted and known != EXTENSIONS[wanted] and not (media_type == "text/plain" and known):
        return name + wanted
    return name
