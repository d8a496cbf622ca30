"""``manage.py packs export PACK FILE`` and ``manage.py packs import FILE --owner EMAIL``."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import User
from knowledge import exports
from knowledge.api.serializers import PackIn
from knowledge.imports import files, job
from knowledge.imports.tables import HEADER, HEADER_NAME
from knowledge.models import Import, ImportStatus, ItemStatus, KnowledgePack
from knowledge.selectors import uuid_or_not_found
from knowledge.services import create_pack
from knowledge.services import imports as service
from knowledge.states import PackStatus
from realtime.errors import QuorumError

_HEADER_MAX = 1024 * 1024


class Command(BaseCommand):
    help = "Writes a knowledge pack to a file, or makes a pack from such a file."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        leave = commands.add_parser("export", help="write a pack to FILE: .jsonl, or .zip for Markdown")
        leave.add_argument("pack", help="id of the pack")
        leave.add_argument("file", type=Path)
        enter = commands.add_parser("import", help="make a new pack from FILE")
        enter.add_argument("file", type=Path)
        enter.add_argument("--owner", required=True, metavar="EMAIL")
        enter.add_argument("--name", help="of the new pack, when the file names none")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["command"] == "export":
                self._export(options["pack"], options["file"])
            else:
                self._import(options["file"], options["owner"], options["name"])
        except QuorumError as error:
            raise CommandError(error.detail) from error
        except OSError as error:
            raise CommandError(str(error)) from error

    def _export(self, pack_id: str, file: Path) -> None:
        found = KnowledgePack.objects.filter(pk=uuid_or_not_found(pack_id)).exclude(status=PackStatus.DELETED)
        pack = found.first()
        if pack is None:
            raise CommandError("There is no such knowledge pack.")
        form = next((form for form, suffix in exports.SUFFIXES.items() if file.suffix.lower() == suffix), None)
        if form is None:
            raise CommandError(f"The file must end in {' or '.join(exports.SUFFIXES.values())}.")
        with file.open("wb") as out:
            out.writelines(exports.export(pack, form))
        self.stdout.write(f"{pack.entry_count} entries of {pack.name!r} are in {file}")

    def _import(self, file: Path, email: str, name: str | None) -> None:
        owner = User.objects.filter(email__iexact=email).first()
        if owner is None:
            raise CommandError(f"There is no user {email}.")
        serializer = PackIn(data=_pack_fields(file, name))
        if not serializer.is_valid():
            raise CommandError(f"The description of the pack is wrong: {json.dumps(serializer.errors)}")
        stored, target = files.create()
        with file.open("rb") as source, target:
            shutil.copyfileobj(source, target)
        pack = create_pack(owner, **serializer.validated_data)
        found = service.create_import(pack, owner, path=stored, filename=file.name, size=file.stat().st_size)
        done = _finished(found)
        failed = done.items.filter(status=ItemStatus.FAILED).order_by("ordinal")
        for item in failed[:20]:
            self.stderr.write(f"{item.source}: {item.error}")
        if done.status != ImportStatus.COMPLETED:
            raise CommandError(f"The import is {done.status}: {done.error}")
        pack.refresh_from_db()
        self.stdout.write(f"{pack.entry_count} entries are in {pack.name!r} ({pack.pk}); {failed.count()} failed")


def _finished(found: Import) -> Import:
    """The import at its end. A worker may have been quicker than we are; then we wait for it."""
    while found.status not in service.FINAL:
        job.run(found.pk)
        found.refresh_from_db()
        if found.status not in service.FINAL and found.lease_expires_at:
            time.sleep(0.5)
    return found


def _pack_fields(file: Path, name: str | None) -> dict[str, Any]:
    """The pack's description at the head of an export; of any other file only a name is known."""
    value = _header(file)
    if not isinstance(value, dict) or HEADER not in value:
        return {"name": name or file.stem}
    if value[HEADER] != exports.VERSION:
        raise CommandError(
            f"The file has version {value[HEADER]!r} of the format; this program reads {exports.VERSION}."
        )
    fields = {key: value[key] for key in exports.PACK_FIELDS if key in value}
    return {**fields, **({"name": name} if name else {})}


def _header(file: Path) -> Any:
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive, archive.open(HEADER_NAME) as member:
                return json.loads(member.read(_HEADER_MAX))
        with file.open("rb") as lines:
            return json.loads(lines.readline(_HEADER_MAX))
    except (KeyError, ValueError, zipfile.BadZipFile, RuntimeError):
        return None
