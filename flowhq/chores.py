"""The daemon's side tasks: how one is begun and ended, and those that go round by the clock.

Each runs until it is cancelled. A database that is away costs a round its work and no more. Sweeps,
deliveries, the claim and the supervisor's rounds have rooms of their own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog

from flowhq.clock import Clock
from flowhq.db import accounting, bulk, events, keys, partitions
from flowhq.db.pool import Database
from flowhq.errors import StoreError
from flowhq.figures import Usage
from flowhq.log import LogHandle
from flowhq.metrics import Metrics
from flowhq.model import TenantId
from flowhq.signals import Signals

log = structlog.get_logger(__name__)

# Partitions are made two weeks ahead; a missed day or ten do no harm.
PARTITIONS_EVERY = timedelta(hours=12)
ACCOUNTS_EVERY = timedelta(hours=1)
REQUESTS_EVERY = timedelta(hours=1)
# An incident lasts a minute at least.
INCIDENTS_EVERY_S = 5.0


def begin(stack: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
    """A side task of the daemon: it ends with the stack, and a death of its own is told."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_death)
    stack.push_async_callback(end, task)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _tell_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("chore ended", chore=task.get_name(), exc_info=task.exception())


async def reopen_logs(signals: Signals, log_handle: LogHandle) -> None:
    """SIGHUP: somebody moved the files away, and wants new ones."""
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        log_handle.reopen()
        log.info("log files reopened")


async def tell_accounts(database: Database, clock: Clock) -> None:
    """Each hour the hour's books: a line a tenant, which stands in its own log too, and one in
    all."""
    while True:
        await clock.sleep(ACCOUNTS_EVERY.total_seconds())
        try:
            books = await accounting.fetch_accounts(database, clock.now() - ACCOUNTS_EVERY)
        except StoreError as error:
            log.error("no accounts of this hour", why=str(error))
            continue
        for tenant_id, account in books.tenants.items():
            if account.received or account.wanted_s:
                log.info("account", tenant_id=str(tenant_id), **accounting.figures(account))
        total = accounting.figures(books.total())
        log.info("account of all", tenants=len(books.tenants), **total)


async def measure(
    usage: Callable[[], Awaitable[Mapping[TenantId, Usage]]],
    metrics: Metrics,
    clock: Clock,
    every_s: float,
) -> None:
    """What the browsers take, for whoever reads the figures."""
    while True:
        metrics.usage = await usage()
        await clock.sleep(every_s)


async def tell_incidents(
    incident: Callable[[], Mapping[str, object] | None], database: Database, clock: Clock
) -> None:
    """An event when many tenants fail at once, and one when that is over."""
    known: Mapping[str, object] | None = None
    while True:
        await clock.sleep(INCIDENTS_EVERY_S)
        present = incident()
        if (present is None) == (known is None):
            continue
        state = (
            {"state": "over", **(known or {})} if present is None else {"state": "began", **present}
        )
        try:
            await events.tell_incident(database, state)
        except StoreError as error:
            log.warning("incident not told yet", why=str(error))
            continue
        known = present


async def drop_old_requests(database: Database, clock: Clock) -> None:
    """What clients asked for is remembered for its time: idempotency keys and bulk runs."""
    while True:
        try:
            await keys.drop_old_keys(database)
            await bulk.drop_old_runs(database)
        except StoreError as error:
            log.warning("old requests not dropped", why=str(error))
        await clock.sleep(REQUESTS_EVERY.total_seconds())


async def keep_partitions(url: str, clock: Clock) -> None:
    """Days of the ledger are there before they begin; ``url`` is the owner's."""
    while True:
        await clock.sleep(PARTITIONS_EVERY.total_seconds())
        try:
            await partitions.ensure_ahead(url)
        except StoreError as error:
            log.error("partitions not made ahead", why=str(error))
