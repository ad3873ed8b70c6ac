"""The file with the master key: where it is, made at the very first start, exchanged by a rotation.

What the key opens is the business of db/datakeys.py. Nothing here ever prints a key.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from flowhq.config import Config, master_key_file
from flowhq.db import datakeys
from flowhq.errors import MisconfiguredError
from flowhq.privatefile import new_file, parse_key, read_key_text, sync_folder, write_key
from flowhq.vault import MasterKey, Vault

log = structlog.get_logger(__name__)

# Beside the file while a rotation is under way.
NEXT_SUFFIX = ".next"
SETTING = "[secrets] master_key_file"
READABLE_BY_ALL = 0o004


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: the file that holds the key now, and how many tenants' keys it wraps."""

    file: Path
    tenants: int


async def open_vault(config: Config, url: str) -> Vault:
    """The vault of the database at ``url``. The file beside the embedded database is made if
    nothing is sealed yet; MisconfiguredError for a key that is missing, unreadable or another."""
    path = master_key_file(config)
    if not path.exists() and await datakeys.find_master_key_id(url) is None:
        _refuse_configured(config)
        await asyncio.to_thread(make, path)
        log.warning("master key made: keep a copy of it elsewhere", file=str(path))
    return await datakeys.open_vault(url, read(path))


def read(path: Path) -> MasterKey:
    """The key in this file; MisconfiguredError names the file."""
    try:
        return MasterKey(parse_key(read_key_text(path)))
    except OSError as error:
        raise MisconfiguredError(
            f"The master key file {path} cannot be read: {error.strerror}.",
            next_step="Put the key back there, or set "
            f"{SETTING} to where it is. docs/backup.md says what to do if it is lost.",
        ) from error
    except ValueError as error:
        raise MisconfiguredError(
            f"{path} holds no master key.",
            next_step="It is one line: 32 random bytes as base64 (openssl rand -base64 32). Look "
            "for the right file: a new key does not open what the old one sealed.",
        ) from error


def make(path: Path) -> None:
    """A new key in a new file that only its owner can read; an existing file stays as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as file:
            file.write(write_key().encode())
    except OSError as error:
        raise MisconfiguredError(
            f"The master key file {path} cannot be made: {error.strerror}.",
            next_step=f"Set {SETTING} to a file in a folder that the daemon's user can write.",
        ) from error


async def rotate(config: Config, url: str, new_file: Path | None) -> Rotation:
    """Every data key is wrapped by a new master key: the one in ``new_file`` (made if it is not
    there), else a new one that takes the place of the present file.

    Once begun it can be repeated until it is done: before the database is changed the new key is on
    the disk, and the old one stays in its file until afterwards.
    """
    present = master_key_file(config)
    next_file = new_file or present.with_name(present.name + NEXT_SUFFIX)
    if not next_file.exists():
        await asyncio.to_thread(make, next_file)
    new = read(next_file)
    tenants = 0
    if await datakeys.find_master_key_id(url) != new.key_id:
        old = read(present)
        tenants = (await datakeys.rewrap(url, old, new)).tenants
    return Rotation(_settle(present, next_file, new_file), tenants)


async def give_up(config: Config, url: str) -> Path:
    """The master key is lost: a new one in a new file, and everything sealed so far is given up.
    MisconfiguredError while a file is still there: it may be the right one."""
    path = master_key_file(config)
    if path.exists():
        raise MisconfiguredError(
            f"{path} is still there.",
            next_step="Move it away first, if it is not the key of this database.",
        )
    await asyncio.to_thread(make, path)
    await datakeys.give_up(url, read(path))
    return path


def readable_by_all(path: Path) -> bool:
    """True if every user of the machine can read the key."""
    return bool(path.stat().st_mode & READABLE_BY_ALL)


def _refuse_configured(config: Config) -> None:
    """A file that somebody named is not made up: it may be a disk that is not mounted."""
    path = config.secrets.master_key_file
    if path is not None:
        raise MisconfiguredError(
            f"The master key file {path} does not exist.",
            next_step=f"Make it: openssl rand -base64 32 > {path}, mode 0600, and keep a copy "
            "elsewhere.",
        )


def _settle(present: Path, next_file: Path, new_file: Path | None) -> Path:
    if new_file is not None:
        return new_file
    next_file.replace(present)
    sync_folder(present.parent)
    return present
