"""The composition root: builds every part, opens them in order, closes them in reverse.

The only module that knows every concrete class. The order of the ``async with`` stack is the
order of shutdown, read from the bottom up.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from urllib.parse import urlsplit

import structlog

from flowhq import chores, heap, killpoints, masterkey, watchdog
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
from flowhq.db import migrate
from flowhq.db.claim import Claim
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.installation import Installation, load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.sending import Sending
from flowhq.desk import ChannelHost, MakeLedger, TenantDesk
from flowhq.egress.client import EgressClient
from flowhq.errors import ExitCode, InUseError
from flowhq.folders import folders_of, require_folders
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

# How long a command waits for a daemon that is just going.
COMMAND_CLAIM_S = 2.0


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
        chores.begin(stack, pulse.run(), "pulse")
        chores.begin(stack, chores.reopen_logs(signals, log_handle), "log files")
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
        await _serve(supervisor, server, signals, pulse)


@dataclass(frozen=True, slots=True)
class _Store:
    """What is kept: the database, open, and the secrets of its installation; ``url`` is the
    owner's."""

    url: str
    database: Database
    installation: Installation


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
    store = await _open_store(config, stack, signals)
    await host.open()
    stack.push_async_callback(host.close)
    metrics = Metrics(version("flowhq"), per_tenant=config.metrics.per_tenant)
    desk = TenantDesk(
        config,
        clock,
        database=store.database,
        host=host,
        installation=store.installation,
        log_files=log_handle,
        meter=metrics,
        make_ledger=make_ledger,
    )
    supervisor = Supervisor(desk, clock, config.supervisor)
    egress = await stack.enter_async_context(EgressClient(config.egress))
    outward = _open_outward(config, clock, stack, store, egress, metrics)
    incidents = chores.tell_incidents(supervisor.incident, store.database, clock)
    chores.begin(stack, incidents, "incidents")
    deps = _admin_deps(config, clock, store, supervisor, pulse, metrics, egress, outward)
    tls = tls_context(config.admin)
    server = AdminServer(create_app(deps), config.admin.host, config.admin.port, tls)
    await server.open()
    stack.push_async_callback(server.close)
    log.info("listening", url=server.url)
    stack.push_async_callback(supervisor.close)
    # Before the tenants: what they leave behind is to be found again.
    heap.calm_collector()
    await supervisor.open()
    _begin_rounds(config, clock, stack, store, host, metrics)
    return supervisor, server


async def _open_store(config: Config, stack: AsyncExitStack, signals: Signals) -> _Store:
    """The database, claimed for this daemon alone and at its version; a lost claim stops it."""
    url = await open_database_url(config, stack)
    claim = await stack.enter_async_context(Claim(url).held())
    chores.begin(stack, claim.keep(signals.stop.set), "claim")
    await migrate.migrate(url)
    installation = await load_installation(url)
    vault = await masterkey.open_vault(config, url)
    database = await stack.enter_async_context(_database(url, config.database, vault))
    return _Store(url, database, installation)


def _database(url: str, settings: DatabaseSettings, vault: Vault) -> Database:
    return Database(
        url,
        vault=vault,
        min_size=settings.pool_min,
        max_size=settings.pool_max,
        command_timeout_s=settings.command_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
    )


def _begin_rounds(
    config: Config,
    clock: Clock,
    stack: AsyncExitStack,
    store: _Store,
    host: ChannelHost,
    metrics: Metrics,
) -> None:
    """What goes on by the clock as long as the daemon runs."""
    database, every_s = store.database, config.metrics.browsers_every_s
    sweeper = Sweeper(store.url, database, clock, config.retention, metrics)
    for name, work in {
        "partitions": chores.keep_partitions(store.url, clock),
        "measuring": chores.measure(host.measure, metrics, clock, every_s),
        "sweeps": sweeper.run(),
        "accounting": chores.tell_accounts(database, clock),
        "old requests": chores.drop_old_requests(database, clock),
        "memory": heap.keep(clock),
    }.items():
        chores.begin(stack, work, name)


def _admin_deps(
    config: Config,
    clock: Clock,
    store: _Store,
    supervisor: Supervisor,
    pulse: Pulse,
    metrics: Metrics,
    egress: EgressClient,
    outward: Outward,
) -> AdminDeps:
    database = store.database
    return AdminDeps(
        store=PostgresStore(database),
        portal=PortalStore(database),
        portal_settings=config.portal,
        egress=egress,
        fleet=supervisor,
        backups=_backups(config, store),
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
    store: _Store,
    client: EgressClient,
    metrics: Metrics,
) -> Outward:
    """What tells events outward: the shared reader, and the deliveries to webhooks."""
    database, at_once = store.database, config.events.deliveries_at_once
    dispatcher = Dispatcher(database, client, clock, metrics, at_once=at_once)
    chores.begin(stack, dispatcher.run(), "webhooks")
    feed = Feed(
        database,
        clock,
        keep_days=config.events.keep_days,
        streams_max=config.events.streams,
        queued=dispatcher.queued,
    )
    chores.begin(stack, feed.run(), "events")
    return Outward(
        webhooks=WebhookDesk(database, client, dispatcher, clock),
        feed=feed,
        sending=Sending(database, store.installation),
    )


def _backups(config: Config, store: _Store) -> BackupFolder:
    source = Source(store.database, store.installation, config.web.profiles_dir)
    return BackupFolder(source, config.backup.directory, config.backup.key_file)


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
    await chores.end(beat)
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
    chores.begin(stack, server.keep(), "database server")
    return server.dsn()


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
