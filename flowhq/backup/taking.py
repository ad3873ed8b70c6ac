"""Taking a backup of one tenant: its rows as of one moment, its profile, its keys, in one file.

The tenant must not run; who sees to that is the caller. The file appears under its name when it is
whole, and only its owner can read it.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import structlog

from flowhq.backup.archive import FORMAT, ArchiveWriter, Manifest
from flowhq.backup.envelope import Lock
from flowhq.bot.finishing import finish
from flowhq.channel.web.profile import browser_process, profile_dir
from flowhq.db import copying, datakeys
from flowhq.db.installation import Installation
from flowhq.db.migrate import load_migrations
from flowhq.db.pool import Database
from flowhq.errors import BackupError, WrongStateError
from flowhq.model import TenantId
from flowhq.privatefile import new_file

log = structlog.get_logger(__name__)

SUFFIX = ".flowhq-backup"
# A disk that does not answer holds up nobody's stop for longer.
BREAK_OFF_S = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where tenants are taken from."""

    database: Database
    installation: Installation
    profiles_dir: Path


@dataclass(frozen=True, slots=True)
class Taken:
    """A finished backup: how large it is, and what is in it."""

    file: Path
    size_bytes: int
    taken_at: datetime
    files: int
    rows: Mapping[str, int]


async def take(source: Source, tenant_id: TenantId, lock: Lock, target: Path) -> Taken:
    """The backup of a tenant that does not run, as the new file ``target``.

    WrongStateError while a browser uses the profile, NotFoundError without such a tenant,
    BackupError if the file cannot be written or exists. Nothing is left of a failed one, nor of one
    that is cancelled, which ends at once.
    """
    profile = profile_dir(source.profiles_dir, tenant_id)
    require_rest(profile, tenant_id)
    with _written(target) as file:
        writer = await asyncio.to_thread(ArchiveWriter, file, lock)
        try:
            taken_at = await _fill(source, tenant_id, writer, profile)
        finally:
            await asyncio.to_thread(writer.abandon)
        require_rest(profile, tenant_id)
        size_bytes = file.tell()
    done = Taken(target, size_bytes, taken_at, writer.tally.files, dict(writer.tally.rows))
    log.info("backup taken", tenant_id=str(tenant_id), bytes=size_bytes, files=done.files)
    return done


def require_rest(profile: Path, tenant_id: TenantId) -> None:
    """WrongStateError while a browser runs on the profile: its files would not fit together."""
    if browser_process(profile) is not None:
        raise WrongStateError(
            f"The browser of tenant {tenant_id} is running.",
            next_step="Stop the worker first, or let the running daemon take the backup: POST "
            f"/admin/tenants/{tenant_id}/backup.",
        )


def file_name(tenant_id: TenantId, taken_at: datetime) -> str:
    """A name of its own for each backup of a tenant."""
    return f"{tenant_id}-{taken_at.astimezone(UTC):%Y%m%dT%H%M%S%f}Z{SUFFIX}"


async def _fill(
    source: Source, tenant_id: TenantId, writer: ArchiveWriter, profile: Path
) -> datetime:
    """Everything that belongs to the tenant, in the archive's order."""
    async with source.database.tenant(tenant_id) as tx:
        if not await copying.exists(tx, tenant_id):
            raise copying.unknown(tenant_id)
        key = await datakeys.tenant_key(tx, tenant_id)
    async with source.database.snapshot(tenant_id) as tx:
        manifest = Manifest(
            format=FORMAT,
            tenant_id=tenant_id,
            schema_version=len(load_migrations()),
            program_version=version("flowhq"),
            taken_at=datetime.now(UTC),
            data_key=key.carried(),
            message_key=(await datakeys.read_message_key(tx, source.installation, tenant_id)).hex(),
            days=tuple(await copying.message_days(tx, tenant_id)),
        )
        await _in_thread(writer, partial(writer.add_manifest, manifest))
        await _in_thread(writer, partial(writer.add_profile, profile))
        async with aclosing(copying.read_rows(tx, tenant_id)) as rows:
            async for table, lines in rows:
                await _in_thread(writer, partial(writer.add_rows, table, lines))
    await _in_thread(writer, writer.finish)
    return manifest.taken_at


async def _in_thread(writer: ArchiveWriter, work: Callable[[], None]) -> None:
    """A cancellation breaks the work off and waits for its end: nobody else may touch the writer
    before."""
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(thread)
    except asyncio.CancelledError:
        writer.break_off()
        await finish(_ended(thread), within_s=BREAK_OFF_S)
        raise


async def _ended(thread: asyncio.Future[None]) -> None:
    await asyncio.wait({thread}, timeout=BREAK_OFF_S)
    if thread.done() and not thread.cancelled():
        thread.exception()  # looked at: the cancellation is what is told


@contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """`new_file`, with what goes wrong told as the backup's error."""
    try:
        with new_file(target) as file:
            yield file
    except OSError as error:
        raise BackupError(
            f"The backup {target} was not written: {error.strerror}.",
            next_step="Name a file that does not exist, in a folder with room that can be written.",
        ) from error
