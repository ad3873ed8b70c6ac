"""Commands that work on a daemon's database, profiles and keys from outside of the daemon.

Each returns the sentence that tells what was done. Whether a daemon runs meanwhile is found out,
not asked for: what must not happen beside one is refused. Each is entered in the audit.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from flowhq import masterkey
from flowhq.admin.terminal import enter, entering
from flowhq.backup import restoring, taking
from flowhq.backup.envelope import Lock, Passphrase
from flowhq.backup.folder import read_key_file
from flowhq.config import Config
from flowhq.daemon import open_database_url, reach_database
from flowhq.db.claim import Claim
from flowhq.db.installation import Installation, load_installation
from flowhq.db.migrate import migrate, require_current
from flowhq.db.pool import Database
from flowhq.db.tenants import TenantRow, fetch_tenant
from flowhq.errors import InvalidInputError, WrongStateError
from flowhq.model import DesiredState, TenantId, WorkerStatus

# Nobody waits for an answer, and one statement may bring a whole piece of a backup.
STATEMENT_LIMIT_S = 300.0
PASSPHRASE_MIN = 12


@dataclass(frozen=True, slots=True)
class _Reached:
    """A database as a command finds it."""

    url: str
    database: Database
    installation: Installation
    daemon_runs: bool


async def rotate_key(config: Config, new_file: Path | None, *, lost: bool) -> str:
    """A new master key; InUseError while a daemon runs, which has the old one in its memory."""
    async with AsyncExitStack() as stack:
        url = await open_database_url(config, stack)
        await stack.enter_async_context(Claim(url).held())
        await require_current(url)
        database = await stack.enter_async_context(Database(url, min_size=1, max_size=1))
        trace = await stack.enter_async_context(entering(database, "rotate_key"))
        if lost:
            made = await masterkey.give_up(config, url)
            trace.add({}, {"lost": True, "file": str(made)})
            return f"{made} holds a new master key. What was sealed before is to be set anew."
        done = await masterkey.rotate(config, url, new_file)
        trace.add({}, {"lost": False, "file": str(done.file), "tenants": done.tenants})
    text = f"{done.file} holds the master key now; keys of tenants wrapped anew: {done.tenants}."
    if new_file is not None:
        text += f" Set {masterkey.SETTING} to it."
    return text


def lock(key_file: Path | None, ask: Callable[[], str]) -> Lock:
    """What locks a backup: the key in a file, or else a passphrase that ``ask`` gets."""
    if key_file is not None:
        return read_key_file(key_file)
    passphrase = ask()
    if len(passphrase) < PASSPHRASE_MIN:
        raise InvalidInputError(
            f"A passphrase for backups has at least {PASSPHRASE_MIN} characters.",
            field="passphrase",
        )
    return Passphrase(passphrase)


async def back_up(config: Config, tenant: UUID, locked: Lock, target: Path) -> str:
    """All of a tenant in a new file. Beside a running daemon only of one that is stopped there."""
    tenant_id = TenantId(tenant)
    async with AsyncExitStack() as stack:
        reached = await _reach(config, stack)
        trace = await stack.enter_async_context(
            entering(reached.database, "back_up_tenant", tenant_id)
        )
        before = await _require_stopped(reached, tenant_id)
        source = taking.Source(reached.database, reached.installation, config.web.profiles_dir)
        done = await taking.take(source, tenant_id, locked, target)
        after = await _require_stopped(reached, tenant_id)
        if (before.started_at, before.restarts) != (after.started_at, after.restarts):
            await asyncio.to_thread(target.unlink)
            raise _runs(tenant_id)
        rows = sum(done.rows.values())
        trace.add({}, {"file": str(done.file), "rows": rows})
    return f"{done.file}: {done.size_bytes} bytes, {rows} rows, {done.files} files of the profile."


async def restore(config: Config, locked: Lock, file: Path) -> str:
    """A tenant out of its backup; a running daemon goes on meanwhile, and knows it afterwards."""
    async with AsyncExitStack() as stack:
        reached = await _reach(config, stack)
        site = restoring.Site(reached.url, reached.database, config.web.profiles_dir)
        done = await restoring.restore(site, file, locked)
        told = {"file": str(file), "rows": sum(done.rows.values())}
        await enter(reached.database, "restore_tenant", told, done.tenant_id)
    taken_at = f"{done.taken_from.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    start = f"POST /admin/tenants/{done.tenant_id}/worker/start"
    return (
        f"Tenant {done.tenant_id} is back as it was at {taken_at}: {sum(done.rows.values())} rows, "
        f"{done.files} files of the profile. It is stopped. When it runs nowhere else: {start}; "
        f"{'no code is to be scanned' if done.paired else 'it was not paired yet'}."
    )


async def _reach(config: Config, stack: AsyncExitStack) -> _Reached:
    """The database, open, at this program's version; migrated first if no daemon works on it."""
    url, daemon_runs = await reach_database(config, stack)
    if daemon_runs:
        await require_current(url)
    else:
        await migrate(url)
    installation = await load_installation(url)
    vault = await masterkey.open_vault(config, url)
    database = Database(
        url, vault=vault, min_size=1, max_size=2, command_timeout_s=STATEMENT_LIMIT_S
    )
    await stack.enter_async_context(database)
    return _Reached(url, database, installation, daemon_runs)


async def _require_stopped(reached: _Reached, tenant_id: TenantId) -> TenantRow:
    """The tenant's row; WrongStateError if a daemon runs it, or may at any moment."""
    row = await fetch_tenant(reached.database, tenant_id)
    stopped = row.desired is DesiredState.STOPPED and row.worker_status is WorkerStatus.STOPPED
    if reached.daemon_runs and not stopped:
        raise _runs(tenant_id)
    return row


def _runs(tenant_id: TenantId) -> WrongStateError:
    return WrongStateError(
        f"Tenant {tenant_id} runs: its files would not fit together.",
        next_step="Stop the worker first, or let the running daemon take the backup: "
        f"POST /admin/tenants/{tenant_id}/backup.",
    )
