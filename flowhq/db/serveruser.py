"""As root: whom the embedded PostgreSQL runs as, and how it reaches its files.

PostgreSQL refuses to run as root. Its user must be one of the machine's: the owner of the data
directory, else ``postgres``, else ``nobody``; none is created. No directory's mode is loosened:
where the way to the files is closed to that user (a checkout below /root), the server alone is
given the capability to pass (CAP_DAC_READ_SEARCH), and nothing else.
"""

import os
import pwd
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowhq.errors import MisconfiguredError

CANDIDATES = ("postgres", "nobody")
# linux/capability.h
CAP_DAC_READ_SEARCH = 2


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Another user than the daemon's, to own the cluster and run the server."""

    uid: int
    gid: int


def choose_user(data: Path) -> ServerUser | None:
    """None when we are not root: the server runs as we do."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return ServerUser(owner.st_uid, owner.st_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(entry.pw_uid, entry.pw_gid)
    raise MisconfiguredError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody.",
        next_step="Run the daemon as an ordinary user, or set [database] url.",
    )


def drop_options(user: ServerUser, paths: Sequence[Path]) -> list[str]:
    """setpriv's options to become ``user`` and still reach ``paths``."""
    options = [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    if all(_reaches(user, path) for path in paths):
        return options
    if not _may_grant():
        raise MisconfiguredError(
            f"The user {user.uid} that runs the embedded PostgreSQL cannot reach {paths[-1]}.",
            next_step="Set [database] data_dir to a place below /var/lib, or run the daemon as an "
            "ordinary user.",
        )
    return [*options, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def _reaches(user: ServerUser, path: Path) -> bool:
    return all(_may_pass(user, parent.stat()) for parent in path.resolve().parents)


def _may_pass(user: ServerUser, directory: os.stat_result) -> bool:
    if directory.st_uid == user.uid:
        return bool(directory.st_mode & stat.S_IXUSR)
    if directory.st_gid == user.gid:
        return bool(directory.st_mode & stat.S_IXGRP)
    return bool(directory.st_mode & stat.S_IXOTH)


def _may_grant() -> bool:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> CAP_DAC_READ_SEARCH & 1)
    return False
