"""The supervisor's desk: builds a tenant's parts and does what needs the concrete classes.

It satisfies `supervisor.Desk` by shape. Here a tenant's configuration becomes a responder, a
channel, a ledger and a runner.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from flowhq import log as logs
from flowhq.bot.deciding import Guards
from flowhq.bot.dedup import Dedup
from flowhq.bot.lifecycle import Lifecycle
from flowhq.bot.loops import LoopBreaker
from flowhq.bot.memory import Memory
from flowhq.bot.ownnumbers import OwnNumbers
from flowhq.bot.ports import Channel, Meter
from flowhq.bot.ratelimit import ReplyBudget, ReplyLimits
from flowhq.bot.replies.catalogue import Catalogues
from flowhq.bot.responder import Responder
from flowhq.bot.restart import FOR_A_PERSON
from flowhq.bot.tenant import TenantParts, TenantRunner
from flowhq.clock import Clock
from flowhq.config import Config, LimitSettings
from flowhq.db import datakeys, tenantlists, tenants
from flowhq.db.installation import Installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.states import PostgresStatusBook
from flowhq.errors import ChannelError, InvalidInputError
from flowhq.figures import Usage
from flowhq.model import TenantId, WorkerStatus

log = structlog.get_logger(__name__)

# Unlinking asks the server; a phone that cannot be reached must not hold up the operator.
LOG_OUT_S = 15.0


class MakeLedger(Protocol):
    """`PostgresLedger`, or what a test puts in its place."""

    def __call__(
        self,
        database: Database,
        tenant_id: TenantId,
        key: bytes,
        *,
        monotonic: Callable[[], float],
    ) -> PostgresLedger: ...


class ChannelHost(Protocol):
    """What makes the channels of one daemon; opened before them and closed after them.

    ``open`` finds out whether channels can be opened at all: MisconfiguredError. ``channel`` gives
    a closed one. ``forget_profile`` deletes a tenant's pairing; its channel must be closed.
    ``measure``: what each open channel takes of the machine; one call at a time.
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def channel(self, tenant_id: TenantId) -> Channel: ...

    async def forget_profile(self, tenant_id: TenantId) -> None: ...

    async def measure(self) -> Mapping[TenantId, Usage]: ...


@dataclass(slots=True)
class _Bench:
    """What outlives one attempt at a tenant."""

    guards: Guards
    memory: Memory
    responder: Responder
    channel: Channel


class TenantDesk:
    """One for the daemon; everything it makes belongs to one tenant."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        database: Database,
        host: ChannelHost,
        installation: Installation,
        log_files: logs.LogHandle,
        meter: Meter,
        make_ledger: MakeLedger = PostgresLedger,
    ) -> None:
        self._config = config
        self._clock = clock
        self._database = database
        self._host = host
        self._installation = installation
        self._log_files = log_files
        self._meter = meter
        self._make_ledger = make_ledger
        self._book = PostgresStatusBook(database)
        self._catalogues = Catalogues.load()
        self._own_numbers = OwnNumbers()
        self._benches: dict[TenantId, _Bench] = {}

    async def wanted(self) -> Sequence[Lifecycle]:
        """The tenants that are to run, the oldest first."""
        for one in await tenantlists.list_numbers(self._database):
            self._own_numbers.learn(one.tenant_id, one.phone, one.paired_phone, one.paired_lid)
        return [self._lifecycle(row) for row in await tenantlists.list_wanted(self._database)]

    async def find(self, tenant_id: TenantId) -> Lifecycle | None:
        row = await tenants.find_tenant(self._database, tenant_id)
        return None if row is None else self._lifecycle(row)

    async def open(self, lifecycle: Lifecycle) -> TenantRunner:
        """A runner from the present configuration. MisconfiguredError and InvalidInputError tell
        what of it cannot be used."""
        tenant_id = lifecycle.snapshot.tenant_id
        bench = await self._set_up(tenant_id)
        ledger = await self._ledger(tenant_id)
        parts = TenantParts(
            channel=bench.channel,
            ledger=ledger,
            lifecycle=lifecycle,
            responder=lambda: bench.responder,
            guards=bench.guards,
            clock=self._clock,
            limits=self._config.limits,
            supervision=self._config.supervisor,
            memory=bench.memory,
            meter=self._meter,
        )
        return TenantRunner(parts)

    async def reload(self, tenant_id: TenantId) -> None:
        """Take a changed configuration into use; the old one stays if it cannot be read."""
        bench = self._benches.get(tenant_id)
        if bench is None:
            return
        spec = await tenants.load_spec(self._database, tenant_id)
        self._own_numbers.learn(tenant_id, spec.phone_number.removeprefix("+"))
        try:
            bench.responder = Responder(spec, self._catalogues)
        except InvalidInputError as error:
            log.error("configuration not usable", field=error.field, why=error.message)

    async def kill(self, tenant_id: TenantId) -> None:
        bench = self._benches.get(tenant_id)
        if bench is not None:
            await bench.channel.kill()

    async def log_out(self, tenant_id: TenantId) -> None:
        """Unlink at the server if it can be reached; the profile is forgotten either way."""
        bench = self._benches.get(tenant_id)
        if bench is None:
            return
        try:
            async with asyncio.timeout(LOG_OUT_S):
                await bench.channel.log_out()
        except (ChannelError, TimeoutError) as error:
            log.warning("device not unlinked at the server", why=str(error))

    async def forget(self, tenant_id: TenantId) -> None:
        """Delete the profile and the pairing; the tenant must not run."""
        self._benches.pop(tenant_id, None)
        await self._host.forget_profile(tenant_id)
        await (await self._ledger(tenant_id)).forget_pairing()
        self._own_numbers.forget(tenant_id)

    def drop_log(self, tenant_id: TenantId) -> None:
        """Delete the tenant's log files: the tenant is gone."""
        self._log_files.forget_tenant(tenant_id, delete=True)

    async def _set_up(self, tenant_id: TenantId) -> _Bench:
        """The responder anew. The guards stay, or a crash would give a fresh budget; the channel
        stays, since the next attempt goes on with what the last one left open."""
        spec = await tenants.load_spec(self._database, tenant_id)
        self._own_numbers.learn(tenant_id, spec.phone_number.removeprefix("+"))
        responder = Responder(spec, self._catalogues)
        bench = self._benches.get(tenant_id)
        if bench is None:
            bench = _Bench(self._guards(), self._memory(), responder, self._host.channel(tenant_id))
            self._benches[tenant_id] = bench
        bench.responder = responder
        return bench

    def _guards(self) -> Guards:
        limits, monotonic = self._config.limits, self._clock.monotonic
        return Guards(
            limits=ReplyLimits(budget(limits), monotonic=monotonic),
            loops=LoopBreaker(limits.loop_replies_per_minute, monotonic=monotonic),
            own_numbers=self._own_numbers,
            mute_s=limits.loop_mute_s,
        )

    def _memory(self) -> Memory:
        limits = self._config.limits
        dedup = Dedup(self._clock, entries=limits.dedup_entries, ttl_s=limits.dedup_ttl_s)
        return Memory(dedup)

    async def _ledger(self, tenant_id: TenantId) -> PostgresLedger:
        key = await datakeys.message_key(self._database, self._installation, tenant_id)
        return self._make_ledger(self._database, tenant_id, key, monotonic=self._clock.monotonic)

    def _lifecycle(self, row: tenants.TenantRow) -> Lifecycle:
        is_parked = row.worker_status is WorkerStatus.ERROR and row.reason in FOR_A_PERSON
        return Lifecycle(
            row.tenant_id,
            self._book,
            desired=row.desired,
            paired=row.paired_at is not None,
            paused=row.paused_at is not None,
            last_seen_at=row.last_seen_at,
            parked=row.reason if is_parked else None,
            detail=row.detail,
        )


def budget(limits: LimitSettings) -> ReplyBudget:
    """The reply limits out of the daemon's settings."""
    return ReplyBudget(
        tenant_replies=limits.replies_per_minute,
        contact_replies=limits.contact_replies,
        contact_period_s=limits.contact_window_s,
    )
