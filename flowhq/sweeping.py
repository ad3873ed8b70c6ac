"""The daily sweep: what is older than it may be goes, unless the clock cannot be believed.

Decides when and whether; what is done stands in db/retention.py and db/days.py. Whatever ends a
sweep half-way, the next one goes on: nothing here remembers anything but the diary.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from flowhq.clock import Clock
from flowhq.config import RetentionSettings
from flowhq.db import audit, days, retention, sweeps
from flowhq.db.faults import translated
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.db.retention import DAY, Terms
from flowhq.db.sweeps import SweepState
from flowhq.errors import FlowHQError, WrongStateError
from flowhq.model import TenantId

log = structlog.get_logger(__name__)

# Between two looks at the clock, and at whether a run is due.
LOOK_EVERY_S = 600.0
# What failed is tried again after so long.
AGAIN_AFTER = timedelta(hours=1)
# A step of the clock that the daemon's own looks do not explain: it jumped, or nobody looked.
STEP_MAX = timedelta(days=2)
# After such a step nothing is deleted until the clock has gone on evenly for so long: time for
# a person to see what is wrong.
HELD_FOR = timedelta(days=3)
# So many of the tenants that could not be swept stand in the diary, with the reason.
TOLD_MAX = 3

Step = Callable[[TenantId, Terms], Awaitable[Counter[str]]]


class SweepMeter(Protocol):
    """Where the figures of the sweeps go."""

    def swept(self, kind: str, number: int) -> None: ...

    def sweep_ended(self, *, at: datetime, done: bool) -> None: ...

    def sweeps_held(self, held: bool) -> None: ...


def judge_clock(state: SweepState, *, now: datetime, newest: datetime | None) -> SweepState:
    """The state after a look at the clock. Deleting is by age, so a clock that stands wrong would
    delete what is new: it must go on evenly from the last look, and nothing that was written may
    lie ahead of it. What was written last is no proof by itself: it has the same clock."""
    last = state.seen_at or newest or now
    latest = max(last, newest or last)
    if now - last > STEP_MAX:
        return _held(state, now, f"The clock is {(now - last).days} days after the last look.")
    if latest - now > STEP_MAX:
        days_behind = (latest - now).days
        return _held(state, now, f"The clock is {days_behind} days before what was seen already.")
    if state.held_since is not None and now - state.held_since >= HELD_FOR:
        return replace(state, seen_at=now, held_since=None, held_why="")
    return replace(state, seen_at=now)


def _held(state: SweepState, now: datetime, why: str) -> SweepState:
    return replace(state, seen_at=now, held_since=now, held_why=why)


def next_time(after: datetime, hour: int) -> datetime:
    """The next full ``hour`` of UTC after a time."""
    today = after.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today > after else today + DAY


class Sweeper:
    """One for the daemon. ``url`` is the owner's: days of the ledger belong to it."""

    def __init__(
        self,
        url: str,
        database: Database,
        clock: Clock,
        settings: RetentionSettings,
        meter: SweepMeter,
    ) -> None:
        self._url = url
        self._database = database
        self._clock = clock
        self._settings = settings
        self._meter = meter

    async def run(self) -> None:
        """Until cancelled. A database that is away is looked for again at the next look."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except FlowHQError as error:
                log.warning("sweep put off", why=str(error))

    async def look(self) -> None:
        """Look at the clock, and sweep if that is due and the clock is believed."""
        now, newest = await sweeps.fetch_newest(self._database)
        async with owner_connection(self._url) as connection:
            with translated():
                before = await sweeps.fetch_state(connection)
                state = judge_clock(before, now=now, newest=newest)
                if state.next_at is None or state.next_at - now > DAY:
                    state = replace(state, next_at=next_time(now, self._settings.hour_utc))
                await sweeps.save_state(connection, state)
        self._meter.sweeps_held(state.held_since is not None)
        if state.held_since is not None:
            if before.held_since is None:
                log.critical("nothing is deleted: the clock jumped", why=state.held_why)
            return
        if state.next_at is not None and state.next_at <= now:
            await self.sweep(now)

    async def sweep(self, now: datetime) -> None:
        """Everything that is too old at ``now``, the database's time."""
        async with owner_connection(self._url) as connection:
            with translated():
                number = await sweeps.begin_run(connection)
        figures: Counter[str] = Counter()
        try:
            failure = await self._sweep(now, figures)
        except FlowHQError as error:
            failure = str(error)
        if failure:
            log.error("sweep failed", why=failure, **figures)
        again = next_time(now, self._settings.hour_utc) if not failure else now + AGAIN_AFTER
        async with owner_connection(self._url) as connection:
            with translated():
                await sweeps.end_run(
                    connection,
                    number,
                    outcome="failed" if failure else "done",
                    detail=failure,
                    figures=figures,
                )
                state = await sweeps.fetch_state(connection)
                await sweeps.save_state(connection, replace(state, next_at=again))
        self._meter.sweep_ended(at=now, done=not failure)
        if not failure:
            log.info("swept", **figures)

    async def _sweep(self, now: datetime, figures: Counter[str]) -> str:
        """Texts first, so that no day is written down with them; whole days before single rows,
        so that few of those are left. What could not be done for some tenants, '' if nothing."""
        settings = self._settings
        usual = Terms(settings.text_days, settings.metadata_days, settings.payload_days)
        terms = await retention.list_terms(self._database, usual)
        ledger = await days.list_days(self._database)
        oldest = ledger[0].begins_at if ledger else now
        failed: dict[TenantId, FlowHQError] = {}
        blank = partial(retention.blank_tenant, self._database, now=now, oldest=oldest)
        await self._each(terms, blank, figures, failed)
        log.info("old texts are gone", tenants=len(terms) - len(failed), **figures)
        marks = [await retention.blanked_to(self._database, tenant_id) for tenant_id in failed]
        longest = max((own.metadata_days for own in terms.values()), default=usual.metadata_days)
        await self._drop_days(
            ledger, now - longest * DAY, figures, blanked_to=min(marks, default=now)
        )
        delete = partial(retention.delete_tenants_old, self._database, now=now)
        await self._each(terms, delete, figures, failed)
        entries = await audit.delete_old(self._url, now - settings.audit_days * DAY)
        self._tell(figures, +Counter(audit=entries))
        return _told(failed, of=len(terms))

    async def _each(
        self,
        terms: Mapping[TenantId, Terms],
        step: Step,
        figures: Counter[str],
        failed: dict[TenantId, FlowHQError],
    ) -> None:
        """One tenant for which it fails stops no other and enters ``failed``. A database that is
        away is no tenant's failure: StoreUnavailableError."""
        for tenant_id, own in terms.items():
            try:
                gone = await step(tenant_id, own)
            except FlowHQError as error:
                await self._database.ping()
                failed.setdefault(tenant_id, error)
                log.error(
                    "sweep failed",
                    tenant_id=str(tenant_id),
                    why=str(error),
                    next_step="The other tenants are swept. It is tried again in an hour; if it "
                    "stays, see the database's own log.",
                )
            else:
                self._tell(figures, gone)

    async def _drop_days(
        self,
        ledger: Sequence[days.Day],
        before: datetime,
        figures: Counter[str],
        *,
        blanked_to: datetime,
    ) -> None:
        """Nothing is written down with its texts, nor deleted before it is written down:
        WrongStateError if a day is to be archived in which ``blanked_to`` leaves some."""
        archive_dir = self._settings.archive
        for day in ledger:
            ends_at = day.begins_at + DAY
            if ends_at > before:
                continue
            if archive_dir is not None and ends_at > blanked_to:
                raise WrongStateError(
                    "Old days wait, with texts in them of a tenant that could not be swept.",
                    next_step="See the lines about that tenant.",
                )
            gone = await days.drop_day(self._url, day, archive_dir)
            self._tell(figures, Counter(days=1, archived=gone.archived))
            figures["archive_bytes"] += gone.archive_bytes

    def _tell(self, figures: Counter[str], gone: Counter[str]) -> None:
        figures.update(gone)
        for kind, number in gone.items():
            self._meter.swept(kind, number)


def _told(failed: Mapping[TenantId, FlowHQError], *, of: int) -> str:
    """The first of them by name, each with its reason; '' without any."""
    if not failed:
        return ""
    some = [f"{tenant_id}: {why}" for tenant_id, why in list(failed.items())[:TOLD_MAX]]
    return f"{len(failed)} of {of} tenants could not be swept. {' '.join(some)}"
