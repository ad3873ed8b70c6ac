"""Bringing a tenant back from its backup, on an installation that does not have it.

All or nothing: the rows are one transaction, the profile is moved to its place before the commit,
and everything was read and authenticated before that.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from flowhq.backup.archive import ArchiveReader, Manifest
from flowhq.backup.envelope import ANOTHER_COPY, Lock
from flowhq.channel.web import profile as profiles
from flowhq.db import copying, datakeys, migrate, partitions
from flowhq.db.pool import Database, Tx
from flowhq.errors import (
    AlreadyExistsError,
    BackupError,
    InvalidInputError,
    StoreRefusedError,
    StoreUnavailableError,
)
from flowhq.model import TenantId
from flowhq.vault import DataKey

log = structlog.get_logger(__name__)

UNFINISHED_PREFIX = ".restoring-"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a tenant is brought to; ``url`` is the owner's. Other tenants may run meanwhile."""

    url: str
    database: Database
    profiles_dir: Path


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back; the tenant stands there stopped."""

    tenant_id: TenantId
    taken_from: Manifest
    paired: bool
    files: int
    rows: Mapping[str, int]


async def restore(site: Site, file: Path, lock: Lock) -> Restored:
    """The tenant of this backup, under its own id, stopped; whole or not at all.

    AlreadyExistsError if it, its profile or its number is here; BackupError for a file that is
    cut, altered, locked otherwise or of another schema.
    """
    known = await migrate.require_current(site.url)
    try:
        opened = file.open("rb")
    except OSError as error:
        raise BackupError(
            f"{file} cannot be read: {error.strerror}.", next_step="Name the file of a backup."
        ) from error
    with ExitStack() as stack:
        stack.enter_context(opened)
        reader = await asyncio.to_thread(ArchiveReader, opened, lock)
        stack.callback(reader.close)
        manifest = await asyncio.to_thread(reader.manifest)
        _require_schema(manifest, known)
        tenant_id = TenantId(manifest.tenant_id)
        await _require_absent(site, tenant_id)
        with _folder(site.profiles_dir) as folder:
            await asyncio.to_thread(reader.extract_profile, folder)
            await partitions.ensure_days(site.url, manifest.days)
            paired = await _bring(site, manifest, reader, folder)
    log.info("tenant restored", tenant_id=str(tenant_id), files=reader.tally.files)
    return Restored(tenant_id, manifest, paired, reader.tally.files, dict(reader.tally.rows))


async def _bring(site: Site, manifest: Manifest, reader: ArchiveReader, folder: Path) -> bool:
    """Rows and profile; True if the tenant is paired."""
    tenant_id = TenantId(manifest.tenant_id)
    place = profiles.profile_dir(site.profiles_dir, tenant_id)
    moved = False
    try:
        async with site.database.tenant(tenant_id) as tx:
            paired = await _insert(tx, manifest, reader)
            if reader.tally.files:
                await asyncio.to_thread(folder.rename, place)
                moved = True
    except StoreUnavailableError as error:
        if not moved:
            raise
        # The commit may have happened: a profile without its tenant does less harm than a tenant
        # without its pairing.
        raise BackupError(
            f"The database went away at the very end of restoring tenant {tenant_id}.",
            next_step=f"Look whether the tenant is there. If it is not, remove {place} and "
            "restore once more.",
        ) from error
    except BaseException:
        if moved:
            await asyncio.to_thread(place.rename, folder)
        raise
    return paired


async def _insert(tx: Tx, manifest: Manifest, reader: ArchiveReader) -> bool:
    """Every row of the file, to its authenticated end."""
    tenant_id = TenantId(manifest.tenant_id)
    await copying.begin(tx, tenant_id)
    adopted = False
    while (piece := await asyncio.to_thread(reader.next_piece)) is not None:
        try:
            await copying.insert_rows(tx, piece.table, piece.lines)
        except (KeyError, InvalidInputError, StoreRefusedError) as error:
            raise BackupError(
                f"The rows of {piece.table} in the backup do not fit.", next_step=ANOTHER_COPY
            ) from error
        if not adopted:
            key = DataKey.taken(manifest.data_key, tenant_id)
            await datakeys.adopt(tx, tenant_id, key, bytes.fromhex(manifest.message_key))
            adopted = True
    return await copying.settle(tx, tenant_id, manifest.taken_at)


async def _require_absent(site: Site, tenant_id: TenantId) -> None:
    async with site.database.tenant(tenant_id) as tx:
        await copying.refuse_present(tx, tenant_id)
    place = profiles.profile_dir(site.profiles_dir, tenant_id)
    if place.exists():
        raise AlreadyExistsError(
            f"There is a browser profile of tenant {tenant_id} here, but no such tenant.",
            field="tenant_id",
            next_step=f"It is left over: remove {place}, then restore again.",
        )


def _require_schema(manifest: Manifest, known: int) -> None:
    if manifest.schema_version != known:
        raise BackupError(
            f"The backup is of schema version {manifest.schema_version}, this database is at "
            f"{known}.",
            next_step=f"Restore it with Flow HQ {manifest.program_version} on a database of that "
            "version, and upgrade that one afterwards.",
        )


@contextmanager
def _folder(profiles_dir: Path) -> Iterator[Path]:
    """An empty folder in which a profile is put together; gone afterwards, unless it was moved."""
    try:
        profiles_dir.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=profiles_dir, prefix=UNFINISHED_PREFIX))
    except OSError as error:
        raise BackupError(
            f"No profile can be made in {profiles_dir}: {error.strerror}.",
            next_step="Give [web] profiles_dir to the user that runs this command.",
        ) from error
    try:
        yield folder
    except OSError as error:
        raise BackupError(
            f"The profile could not be written: {error.strerror}.",
            next_step=f"Make room in {profiles_dir}.",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
