"""The composition root: builds every part, opens them in order, closes them in reverse.

The only module that knows every concrete class. The order of the ``async with`` stack is the
order of shutdown, read from the bottom up.
"""

import asyncio
import gc
import os
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from flowhq import killpoints, masterkey, watchdog
from flowhq import log as logs
from flowhq.admin.app import create_app
from flowhq.admin.credentials import PostgresCredentials
from flowhq.admin.outward import Outward
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.ports import AdminDeps
from flowhq.admin.server import AdminServer, tls_context
from flowhq.admin.store import PostgresAudit, PostgresStore
from flowhq.backup.folder import BackupFolder
from flowhq.backup.taking import Source
from flowhq.channel.web.host import BrowserHost
from flowhq.channel.web.settings import WebSettings
from flowhq.clock import Clock, SystemClock
from flowhq.config import Config, DatabaseSettings, is_loopback
from flowhq.db import accounting, bulk, events, keys, migrate, partitions
from flowhq.db.claim import Claim
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.installation import Installation, load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.sending import Sending
from flowhq.desk import ChannelHost, MakeLedger, TenantDesk
from flowhq.egress.client import EgressClient
from flowhq.errors import (
    ExitCode,
    InUseError,
    MisconfiguredError,
    StoreRefusedError,
    StoreUnavailableError,
)
from flowhq.metrics import Metrics
from flowhq.pulse import Pulse
from flowhq.signals import Signals, SystemdNotifier, catch_signals
from flowhq.supervisor import Supervisor
from flowhq.sweeping import Sweeper
from flowhq.vault import Vault
from flowhq.webhooks.desk import WebhookDesk
from flowhq.webhooks.dispatcher import Dispatcher
from flowhq.webhooks.feed import Feed

log = structlog.get_logger(__name__)

# Objects made and not freed until the young, the middle and all are looked through: 2,000,000 for
# all, which is some hundred MB at the very most.
GC_THRESHOLDS = (5_000, 10, 40)
# Partitions are made two weeks ahead; a missed day or ten do no harm.
PARTITIONS_EVERY = timedelta(hours=12)
ACCOUNTS_EVERY = timedelta(hours=1)
REQUESTS_EVERY = timedelta(hours=1)
# How long a command waits for a daemon that is just going.
COMMAND_CLAIM_S = 2.0
# An incident lasts a minute at least.
INCIDENTS_EVERY_S = 5.0


def browser_host(config: Config, clock: Clock) -> ChannelHost:
    return BrowserHost(web_settings(config), clock)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the daemon meets outside itself: time and the way to WhatsApp."""

    clock: Clock = field(default_factory=SystemClock)
    make_host: Callable[[Config, Clock], ChannelHost] = browser_host


async def run(config: Config, surroundings: Surroundings | None = None) -> int:
    """Run until a signal; the process's exit code. Errors of the start are FlowHQErrors."""
    require_folders(config)
    log_handle = logs.setup(config.logging)
    try:
        await _live(config, surroundings or Surroundings(), log_handle)
        log.info("stopped")
    finally:
        log_handle.close()
    return ExitCode.OK


async def _live(config: Config, around: Surroundings, log_handle: logs.LogHandle) -> None:
    """Everything between the first signal handler and the last part closed."""
    async with AsyncExitStack() as stack:
        signals = await stack.enter_async_context(catch_signals())
        pulse = Pulse()
        _chore(stack, pulse.run(), "pulse")
        _chore(stack, _reopen_logs(signals, log_handle), "log files")
        opening = _open(config, around, stack, log_handle, pulse, signals)
        starting = asyncio.create_task(opening, name="start")
        stopping = asyncio.create_task(signals.stop.wait(), name="stop")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return
        supervisor, server = starting.result()
        _calm_collector()
        await _serve(supervisor, server, signals, pulse)


async def _open(
    config: Config,
    around: Surroundings,
    stack: AsyncExitStack,
    log_handle: logs.LogHandle,
    pulse: Pulse,
    signals: Signals,
) -> tuple[Supervisor, AdminServer]:
    """Open every part; what is open already is closed by the stack, whatever happens."""
    clock = around.clock
    host, make_ledger = _outer_parts(config, around)
    url = await open_database_url(config, stack)
    claim = await stack.enter_async_context(Claim(url).held())
    _chore(stack, claim.keep(signals.stop.set), "claim")
    await migrate.migrate(url)
    installation = await load_installation(url)
    vault = await masterkey.open_vault(config, url)
    database = await stack.enter_async_context(_database(url, config.database, vault))
    await host.open()
    stack.push_async_callback(host.close)
    metrics = Metrics(version("flowhq"), per_tenant=config.metrics.per_tenant)
    desk = TenantDesk(
        config,
        clock,
        database=database,
        host=host,
        installation=installation,
        log_files=log_handle,
        meter=metrics,
        make_ledger=make_ledger,
    )
    supervisor = Supervisor(desk, clock, config.supervisor)
    backups = _backups(config, database, installation)
    egress = await stack.enter_async_context(EgressClient(config.egress))
    outward = _open_outward(config, clock, stack, database, installation, egress, metrics)
    _chore(stack, _tell_incidents(supervisor, database, clock), "incidents")
    deps = _admin_deps(config, clock, database, supervisor, pulse, metrics, backups, outward)
    deps = replace(deps, egress=egress)
    tls = tls_context(config.admin)
    server = AdminServer(create_app(deps), config.admin.host, config.admin.port, tls)
    await server.open()
    stack.push_async_callback(server.close)
    log.info("listening", url=server.url)
    stack.push_async_callback(supervisor.close)
    await supervisor.open()
    sweeper = Sweeper(url, database, clock, config.retention, metrics)
    every_s = config.metrics.browsers_every_s
    for name, work in {
        "partitions": _keep_partitions(url, clock),
        "measuring": _measure(host, metrics, clock, every_s),
        "sweeps": sweeper.run(),
        "accounting": _tell_accounts(database, clock),
        "old requests": _drop_old_requests(database, clock),
    }.items():
        _chore(stack, work, name)
    return supervisor, server


def _database(url: str, settings: DatabaseSettings, vault: Vault) -> Database:
    return Database(
        url,
        vault=vault,
        min_size=settings.pool_min,
        max_size=settings.pool_max,
        command_timeout_s=settings.command_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
    )


def _admin_deps(
    config: Config,
    clock: Clock,
    database: Database,
    supervisor: Supervisor,
    pulse: Pulse,
    metrics: Metrics,
    backups: BackupFolder,
    outward: Outward,
) -> AdminDeps:
    return AdminDeps(
        store=PostgresStore(database),
        portal=PortalStore(database),
        portal_settings=config.portal,
        fleet=supervisor,
        backups=backups,
        settings=config.admin,
        clock=clock,
        version=version("flowhq"),
        started_at=clock.now(),
        audit=PostgresAudit(database),
        credentials=PostgresCredentials(database),
        pulse=pulse,
        metrics=metrics,
        retention=config.retention,
        folders=folders_of(config),
        outward=outward,
    )


def _open_outward(
    config: Config,
    clock: Clock,
    stack: AsyncExitStack,
    database: Database,
    installation: Installation,
    client: EgressClient,
    metrics: Metrics,
) -> Outward:
    """What tells events outward: the shared reader, and the deliveries to webhooks."""
    at_once = config.events.deliveries_at_once
    dispatcher = Dispatcher(database, client, clock, metrics, at_once=at_once)
    _chore(stack, dispatcher.run(), "webhooks")
    feed = Feed(
        database,
        clock,
        keep_days=config.events.keep_days,
        streams_max=config.events.streams,
        queued=dispatcher.queued,
    )
    _chore(stack, feed.run(), "events")
    return Outward(
        webhooks=WebhookDesk(database, client, dispatcher, clock),
        feed=feed,
        sending=Sending(database, installation),
    )


def _backups(config: Config, database: Database, installation: Installation) -> BackupFolder:
    source = Source(database, installation, config.web.profiles_dir)
    return BackupFolder(source, config.backup.directory, config.backup.key_file)


def _calm_collector() -> None:
    """Full garbage collections become rare: one stops the loop for 0.1 s and more, since caches of
    hundreds of tenants are a million objects. What the start made is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _outer_parts(config: Config, around: Surroundings) -> tuple[ChannelHost, MakeLedger]:
    """Channels and ledger, with a test's kill point between them and the rest if one is armed."""
    host = around.make_host(config, around.clock)
    loopback = is_loopback(urlsplit(config.web.url).hostname or "")
    fuse = killpoints.read_fuse(os.environ, loopback=loopback)
    if fuse is None:
        return host, PostgresLedger
    return killpoints.FusedHost(host, fuse), partial(killpoints.FusedLedger, fuse=fuse)


async def _serve(
    supervisor: Supervisor, server: AdminServer, signals: Signals, pulse: Pulse
) -> None:
    """Tell systemd, wait for the signal to stop; a second one ends the draining."""
    notifier = SystemdNotifier()
    notifier.ready()
    beat = asyncio.create_task(watchdog.watch(notifier, pulse, supervisor), name="watchdog")
    await signals.stop.wait()
    log.info("stopping")
    notifier.stopping()
    server.tell_stopping()
    await _end(beat)
    closing = asyncio.create_task(supervisor.close(), name="close")
    hurried = asyncio.create_task(signals.hurry.wait(), name="hurry")
    await asyncio.wait({closing, hurried}, return_when=asyncio.FIRST_COMPLETED)
    if not closing.done():
        log.warning("closing at once")
        supervisor.hurry()
    hurried.cancel()
    await closing


async def reach_database(config: Config, stack: AsyncExitStack) -> tuple[str, bool]:
    """The owner's URL for a command, and whether a daemon works on the database. If none does,
    none can until the stack is closed."""
    try:
        url = await open_database_url(config, stack)
        await stack.enter_async_context(Claim(url).held(limit_s=COMMAND_CLAIM_S))
    except InUseError:
        embedded = config.database.embedded
        return EmbeddedPostgres(config.database.data_dir).dsn() if embedded else url, True
    return url, False


async def open_database_url(config: Config, stack: AsyncExitStack) -> str:
    """The owner's URL; starts the embedded server if that is what is configured, and keeps it."""
    if not config.database.embedded:
        return config.database.url.get_secret_value()
    server = EmbeddedPostgres(config.database.data_dir)
    await stack.enter_async_context(server)
    _chore(stack, server.keep(), "database server")
    return server.dsn()


def require_folders(config: Config) -> list[Path]:
    """The folders that the daemon keeps its things in; MisconfiguredError names the one that
    cannot be written, or cannot be made."""
    folders = folders_of(config)
    for setting, folder in folders.items():
        _require_writable(setting, folder)
    return list(folders.values())


def folders_of(config: Config) -> dict[str, Path]:
    """Where the daemon writes, by the setting that says so."""
    folders = {
        "[web] profiles_dir": config.web.profiles_dir,
        "[logging] directory": config.logging.directory,
    }
    if config.database.embedded:
        folders["[database] data_dir"] = config.database.data_dir
    if config.retention.archive is not None:
        folders["[retention] archive_dir"] = config.retention.archive
    return folders


def _require_writable(setting: str, folder: Path) -> None:
    """Writes a file into the folder, or into the nearest one above in which it would be made."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return
    except OSError as error:
        raise MisconfiguredError(
            f"{folder} cannot be written: {error.strerror}.",
            next_step=f"Give {nearest} to the user that runs the daemon, or set {setting} to "
            "another folder.",
        ) from error


def web_settings(config: Config) -> WebSettings:
    """The channel's settings out of the daemon's."""
    web = config.web
    return WebSettings(
        url=web.url,
        profiles_dir=web.profiles_dir,
        chromium=web.chromium,
        device_name=web.device_name,
        user_agent=web.user_agent,
        extra_args=web.extra_args,
        launch_timeout_s=web.launch_timeout_s,
        send_timeout_s=config.limits.send_timeout_s,
        probe_timeout_s=config.supervisor.probe_timeout_s,
        concurrent_starts=web.concurrent_starts,
        event_buffer=config.limits.memory_events_per_tenant,
        event_buffer_total=config.limits.memory_events_total,
    )


async def _reopen_logs(signals: Signals, log_handle: logs.LogHandle) -> None:
    """SIGHUP: somebody moved the files away, and wants new ones."""
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        log_handle.reopen()
        log.info("log files reopened")


def _chore(stack: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
    """A side task of the daemon: it ends with the stack, and a death of its own is told."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_chore_done)
    stack.push_async_callback(_end, task)


def _chore_done(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("chore ended", chore=task.get_name(), exc_info=task.exception())


async def _tell_accounts(database: Database, clock: Clock) -> None:
    """Each hour the hour's books: a line a tenant, which stands in its own log too, and one in
    all."""
    while True:
        await clock.sleep(ACCOUNTS_EVERY.total_seconds())
        try:
            books = await accounting.fetch_accounts(database, clock.now() - ACCOUNTS_EVERY)
        except (StoreUnavailableError, StoreRefusedError) as error:
            log.error("no accounts of this hour", why=str(error))
            continue
        for tenant_id, account in books.tenants.items():
            if account.received or account.wanted_s:
                log.info("account", tenant_id=str(tenant_id), **accounting.figures(account))
        total = accounting.figures(books.total())
        log.info("account of all", tenants=len(books.tenants), **total)


async def _measure(host: ChannelHost, metrics: Metrics, clock: Clock, every_s: float) -> None:
    """What the browsers take, for whoever reads the figures."""
    while True:
        metrics.usage = await host.measure()
        await clock.sleep(every_s)


async def _tell_incidents(supervisor: Supervisor, database: Database, clock: Clock) -> None:
    """An event when many tenants fail at once, and one when that is over."""
    known: Mapping[str, object] | None = None
    while True:
        await clock.sleep(INCIDENTS_EVERY_S)
        present = supervisor.incident()
        if (present is None) == (known is None):
            continue
        state = (
            {"state": "over", **(known or {})} if present is None else {"state": "began", **present}
        )
        try:
            await events.tell_incident(database, state)
        except (StoreUnavailableError, StoreRefusedError) as error:
            log.warning("incident not told yet", why=str(error))
            continue
        known = present


async def _drop_old_requests(database: Database, clock: Clock) -> None:
    """What clients asked for is remembered for its time: idempotency keys and bulk runs."""
    while True:
        try:
            await keys.drop_old_keys(database)
            await bulk.drop_old_runs(database)
        except (StoreUnavailableError, StoreRefusedError) as error:
            log.warning("old requests not dropped", why=str(error))
        await clock.sleep(REQUESTS_EVERY.total_seconds())


async def _keep_partitions(url: str, clock: Clock) -> None:
    while True:
        await clock.sleep(PARTITIONS_EVERY.total_seconds())
        try:
            await partitions.ensure_ahead(url)
        except (StoreUnavailableError, StoreRefusedError) as error:
            log.error("partitions not made ahead", why=str(error))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
