"""Become another program that dies with its parent.

Run by path (`python -I -S exec_child.py PARENT SIGNAL UID GID PROGRAM ARG…`) and with the standard library alone, because
importing `config` would load Django for every child. A shim rather than `preexec_fn`: no Python code runs between
fork and exec of a process that may have threads, and the order below can be what the kernel asks for: changing
user clears the parent-death signal (prctl(2), PR_SET_PDEATHSIG), so it is set afterwards; exec keeps it.

The kernel sends the signal when the *thread* that forked ends, so callers fork from their main thread.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
SAME_USER = -1
EXIT_ORPHANED = 113


def drop_privileges(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(parent: int, signal_number: int) -> None:
    """Ask the kernel for `signal_number` when the parent ends; leave at once when it already has.

    Linux only: elsewhere an ordinary stop still reaches every child, but a `kill -9` of the parent does not.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(EXIT_ORPHANED)


def main(arguments: list[str]) -> None:
    parent, signal_number, uid, gid = map(int, arguments[:4])
    if uid != SAME_USER:
        drop_privileges(uid, gid)
    die_with_parent(parent, signal_number)
    os.execvp(arguments[4], arguments[4:])  # noqa: S606  # exec without a shell is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
