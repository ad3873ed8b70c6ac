"""Where the running daemon puts its backups."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from flowhq.backup.envelope import GivenKey, Lock, Passphrase
from flowhq.backup.taking import Source, Taken, file_name, take
from flowhq.errors import BackupError, InvalidInputError, WrongStateError
from flowhq.model import TenantId
from flowhq.privatefile import parse_key, read_key_text


class BackupFolder:
    """Takes one backup at a time, each into a new file of ``directory``."""

    def __init__(self, source: Source, directory: Path, key_file: Path | None) -> None:
        self._source = source
        self._directory = directory
        self._key_file = key_file
        self._busy = asyncio.Lock()

    async def take(self, tenant_id: TenantId, passphrase: str | None) -> Taken:
        """The backup of a tenant that does not run; WrongStateError while another is taken."""
        lock = self._lock(passphrase)
        if self._busy.locked():
            raise WrongStateError(
                "Another backup is being taken.", next_step="Try again when it is done."
            )
        async with self._busy:
            target = self._directory / file_name(tenant_id, datetime.now(UTC))
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise BackupError(
                    f"{self._directory} cannot be made: {error.strerror}.",
                    next_step="Set [backup] directory to a folder that the daemon's user can make.",
                ) from error
            return await take(self._source, tenant_id, lock, target)

    def _lock(self, passphrase: str | None) -> Lock:
        if passphrase is not None:
            return Passphrase(passphrase)
        if self._key_file is not None:
            return read_key_file(self._key_file)
        raise InvalidInputError(
            "A passphrase is needed: no key for backups is configured.",
            field="passphrase",
            next_step="Give one, or set [backup] key_file.",
        )


def read_key_file(path: Path) -> Lock:
    """The key in this file; BackupError names the file."""
    try:
        return GivenKey(parse_key(read_key_text(path)))
    except OSError as error:
        raise BackupError(
            f"The key file {path} cannot be read: {error.strerror}.",
            next_step="Name the file with the key for backups.",
        ) from error
    except ValueError as error:
        raise BackupError(
            f"{path} holds no key for backups.",
            next_step="It is one line: 32 random bytes as base64 (openssl rand -base64 32).",
        ) from error
