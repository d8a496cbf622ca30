"""PostgreSQL refuses to run as root. As root we lend it a user that the system already has, and a place that user may enter."""

import hashlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

from config.embedded.errors import DataDirError, InstallError
from config.embedded.process import Identity
from config.embedded.state import DataDir

# The database's own account where a distribution has made one, else the accounts every Unix has.
CANDIDATES = ("postgres", "nobody", "daemon")
FALLBACK_PARENTS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  # only a directory that root owns is accepted there
PASSABLE = 0o711


def is_root() -> bool:
    return os.geteuid() == 0


def choose_identity(existing: Path) -> Identity | None:
    """The user to run as: none when we are not root; the owner of `existing` data, if there is any; else the first candidate."""
    if not is_root():
        return None
    if existing.exists() and existing.stat().st_uid != 0:
        return _identity(pwd.getpwuid(existing.stat().st_uid))
    for name in CANDIDATES:
        try:
            return _identity(pwd.getpwnam(name))
        except KeyError:
            continue
    raise InstallError(
        "PostgreSQL must not run as root, and this system has none of the users " + ", ".join(CANDIDATES)
    )


def _identity(entry: pwd.struct_passwd) -> Identity:
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def may_enter(path: Path, identity: Identity) -> bool:
    """Asked of the kernel, as that user: mode bits alone know nothing of access lists or mount options."""
    probe = ["/bin/sh", "-c", 'cd "$1"', "sh", str(path)]
    try:
        entered = subprocess.run(  # noqa: S603  # a fixed program; the path is an argument
            probe, user=identity.uid, group=identity.gid, extra_groups=[], cwd="/", capture_output=True, check=False
        )
    except PermissionError as error:
        raise InstallError(
            f"This root may not become the user {identity.name}, and PostgreSQL must not run as root: "
            "run as an ordinary user or set DATABASE_URL"
        ) from error
    return entered.returncode == 0


def home_for(data: DataDir, name: str) -> Path:
    """The directory of server `name`: below the data directory if its user can get there, else one named after the data directory.

    A fallback, once taken, is kept as long as it exists, even if the data directory opens up later: the data are there.
    """
    inside = data.root / name
    if not is_root() or inside.exists():
        inside.mkdir(exist_ok=True)
        return _passable(inside)
    places = [place for place in _fallbacks(data, name) if place.exists()]
    identity = choose_identity(inside)
    if not places and identity is not None and may_enter(data.root, identity):
        inside.mkdir()
        return _passable(inside)
    return _first_usable(places or list(_fallbacks(data, name)), identity)


def _fallbacks(data: DataDir, name: str) -> Iterator[Path]:
    digest = hashlib.sha256(str(data.root).encode()).hexdigest()[:12]
    for parent in FALLBACK_PARENTS:
        yield parent / f"quorum-{digest}-{name}"


def _first_usable(places: list[Path], identity: Identity | None) -> Path:
    for place in places:
        try:
            place.mkdir(exist_ok=True)
        except OSError:
            continue  # read-only system directories: the next place is the remedy, and running out of them is an error
        if _is_ours(place) and (identity is None or may_enter(_passable(place), identity)):
            return place
    tried = ", ".join(map(str, places))
    raise DataDirError(f"No directory that both root and an unprivileged user can use (tried {tried}); set --data-dir")


def _is_ours(place: Path) -> bool:
    """In a directory that all may write, somebody else could have been there first."""
    status = place.lstat()
    return not place.is_symlink() and status.st_uid == os.geteuid()


def _passable(place: Path) -> Path:
    try:
        place.chmod(PASSABLE if is_root() else 0o700)
    except PermissionError as error:
        raise DataDirError(f"{place} belongs to another user; run as that user or choose another --data-dir") from error
    return place
