"""Zip archives, opened without trust: names, counts, sizes and ratios are checked, and nothing is written under a name of theirs."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from knowledge.imports.limits import Job, Limits
from knowledge.imports.refusal import Refused

_CHUNK: Final = 256 * 1024
_SMALL: Final = 1024 * 1024  # below this a high ratio harms nobody
_CLUTTER: Final = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


def unpack(path: str, name: str, folder: str, limits: Limits) -> Iterator[Job]:
    """Write the files of the archive to ``folder`` under names of our own. Raises ``Refused`` for the archive as a whole when it is
    one that no honest tool makes; what was written until then is of no use."""
    with opened(path) as archive:
        members = checked_members(archive, limits)
        left = limits.unpacked_bytes
        for number, member in enumerate(members):
            target = Path(folder) / f"{number:06}"
            with target.open("xb") as file:
                for chunk in chunks(archive, member, min(left, limits.file_bytes), limits):
                    left -= len(chunk)
                    file.write(chunk)
            yield Job(str(target), member.filename, inner=True)


def opened(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise Refused("The archive is damaged and cannot be opened.") from error


def checked_members(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """The files worth reading. What the directory claims is checked here; ``chunks`` checks what is really there."""
    members = archive.infolist()
    if len(members) > limits.members:
        raise Refused(f"The archive holds {len(members)} files; at most {limits.members} are read.")
    for member in members:
        _check_name(member)
        if member.flag_bits & 0x1:
            raise Refused("The archive is encrypted; pack it without a password.")
    if sum(member.file_size for member in members) > limits.unpacked_bytes:
        raise Refused(f"The archive unpacks to more than {limits.unpacked_bytes // 2**20} MiB.")
    return [member for member in members if not member.is_dir() and not _is_clutter(member.filename)]


def chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int, limits: Limits) -> Iterator[bytes]:
    """What the member really holds. Raises ``Refused`` as soon as that is more than ``room`` or an absurd multiple of what is packed."""
    read = 0
    try:
        with archive.open(member) as source:
            while chunk := source.read(_CHUNK):
                read += len(chunk)
                if read > room:
                    raise Refused(f"{member.filename!a} unpacks to more than is read; the archive may be a zip bomb.")
                if read > _SMALL and read > limits.ratio * max(1, member.compress_size):
                    raise Refused(
                        f"{member.filename!a} unpacks to over {limits.ratio} times its size; the archive may be a zip bomb."
                    )
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise Refused(f"{member.filename!a} in the archive is damaged.") from error


def _check_name(member: zipfile.ZipInfo) -> None:
    name = member.filename
    shown = ascii(name if len(name) <= 100 else name[:100] + "…")
    if any(ord(char) < 32 or ord(char) == 127 for char in member.orig_filename.rstrip("\x00")):
        raise Refused(f"The archive names a file {shown}, with control characters.")
    if name.startswith(("/", "\\")) or name[1:2] == ":" or ".." in name.replace("\\", "/").split("/"):
        raise Refused(f"The archive names a file {shown}, outside of its own folder.")
    if len(name) > 900:
        raise Refused(f"The archive names a file {shown}, which is too long.")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Refused(f"{shown} in the archive is a link or a device, not a file.")


def _is_clutter(name: str) -> bool:
    parts = name.split("/")
    return parts[0] in _CLUTTER or parts[-1] in _CLUTTER or parts[-1].startswith("._")
