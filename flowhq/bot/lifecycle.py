"""The states of a tenant as a table: everything that affects transitions lives in this file.

A state is finer than the API's words; `facets` projects it on them. An event that the table does
not know in a state raises and changes nothing. What does not belong here: deciding *when* an
event happens (bot/tenant.py, supervisor.py) and how it is stored (db/states.py).
"""

import asyncio
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

import structlog

from flowhq.bot.ports import StatusBook
from flowhq.errors import StoreError, WrongStateError
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)

log = structlog.get_logger(__name__)


class State(StrEnum):
    NEW = "new"  # never started, or stopped before it was ever paired
    STOPPED = "stopped"  # paired, and not wanted running
    STARTING = "starting"  # browser and page are being opened
    SCANNING = "scanning"  # a code is on show
    EXPIRED = "expired"  # the codes ran out unscanned
    PAIRING = "pairing"  # scanned, first sync
    CONNECTED = "connected"  # receives and sends
    OFFLINE = "offline"  # the page lives, WhatsApp cannot be reached
    CONFLICTED = "conflicted"  # another window took over
    STALE = "stale"  # no successful probe for too long; a restart follows
    RECOVERING = "recovering"  # failed, waiting for the next attempt
    PARKED = "parked"  # no attempt goes on: a person must act, or an hour pass (CRASH_LOOP)


class Event(StrEnum):
    START = "start"
    STOP = "stop"
    SHUTDOWN = "shutdown"  # the daemon ends; the wish to run stays
    QR_SHOWN = "qr_shown"
    QR_IDLE = "qr_idle"
    SCANNED = "scanned"
    READY = "ready"
    LOST = "lost"
    LOGGED_OUT = "logged_out"
    CONFLICT = "conflict"
    STALE = "stale"
    FAILED = "failed"
    PARK = "park"
    UNLINK = "unlink"  # the operator made us forget the pairing
    PAUSE = "pause"
    RESUME = "resume"


S, E = State, Event

_ANYWHERE = {
    E.START: S.STARTING,
    E.STOP: S.STOPPED,
    E.SHUTDOWN: S.STOPPED,
    E.PARK: S.PARKED,
}
_RUNNING = _ANYWHERE | {
    E.QR_SHOWN: S.SCANNING,
    E.QR_IDLE: S.EXPIRED,
    E.SCANNED: S.PAIRING,
    E.READY: S.CONNECTED,
    E.LOST: S.OFFLINE,
    E.LOGGED_OUT: S.SCANNING,
    E.CONFLICT: S.CONFLICTED,
    E.FAILED: S.RECOVERING,
}

_TABLE: dict[State, dict[Event, State]] = {
    S.NEW: {E.START: S.STARTING, E.STOP: S.NEW, E.SHUTDOWN: S.NEW, E.UNLINK: S.NEW},
    S.STOPPED: {E.START: S.STARTING, E.STOP: S.STOPPED, E.SHUTDOWN: S.STOPPED, E.UNLINK: S.NEW},
    S.STARTING: _RUNNING,
    S.SCANNING: _RUNNING | {E.LOST: S.SCANNING},
    S.EXPIRED: _RUNNING | {E.LOST: S.EXPIRED},
    S.PAIRING: _RUNNING,
    S.CONNECTED: _RUNNING | {E.STALE: S.STALE},
    S.OFFLINE: _RUNNING | {E.STALE: S.STALE},
    S.CONFLICTED: _RUNNING,
    S.STALE: _RUNNING | {E.STALE: S.STALE},
    S.RECOVERING: _ANYWHERE | {E.FAILED: S.RECOVERING},
    S.PARKED: _ANYWHERE | {E.FAILED: S.PARKED},
}
# Pausing is the operator's switch on the answers: it never moves the state.
TRANSITIONS: dict[State, dict[Event, State]] = {
    state: row | {E.PAUSE: state, E.RESUME: state} for state, row in _TABLE.items()
}

DEFAULT_REASON: dict[State, Reason] = {
    S.NEW: Reason.NOT_STARTED,
    S.STOPPED: Reason.STOPPED_BY_ADMIN,
    S.STARTING: Reason.STARTING,
    S.SCANNING: Reason.SCAN_QR,
    S.EXPIRED: Reason.PAIRING_EXPIRED,
    S.PAIRING: Reason.PAIRING,
    S.CONNECTED: Reason.CONNECTED,
    S.OFFLINE: Reason.CONNECTION_LOST,
    S.CONFLICTED: Reason.CONFLICT,
    S.STALE: Reason.STALE,
    S.RECOVERING: Reason.INTERNAL_ERROR,
    S.PARKED: Reason.MISCONFIGURED,
}

_BY_ITSELF = "Nothing to do: it is restarted by itself. See the tenant's log if it repeats."

NEXT_ACTION: dict[Reason, str] = {
    Reason.NONE: "",
    Reason.NOT_STARTED: "Start the worker to get a code.",
    Reason.STARTING: "Wait: the browser is starting.",
    Reason.SCAN_QR: "Scan the code with the phone: WhatsApp, Linked devices, Link a device.",
    Reason.PAIRING: "Wait: the phone is being linked.",
    Reason.PAIRING_EXPIRED: "Nobody scanned in time. Restart the worker for a new code.",
    Reason.CONNECTED: "",
    Reason.PAUSED_BY_ADMIN: "Resume the tenant to let it answer again.",
    Reason.STOPPED_BY_ADMIN: "Start the worker.",
    Reason.DAEMON_STOPPED: "Start the daemon: the worker comes back with it.",
    Reason.CONNECTION_LOST: "Check the machine's internet connection; it comes back by itself.",
    Reason.PAGE_CRASHED: _BY_ITSELF,
    Reason.PAGE_HUNG: _BY_ITSELF,
    Reason.PAGE_UNUSABLE: "If it repeats, WhatsApp Web may have changed: look for an update.",
    Reason.BROWSER_GONE: _BY_ITSELF,
    Reason.BROWSER_FAILED: "Run flowhq-daemon doctor: it launches the browser and says why.",
    Reason.CHROMIUM_MISSING: "Install Chromium (apt-get install chromium), then restart.",
    Reason.PROFILE_IN_USE: "Another browser uses this profile: end it, then restart.",
    Reason.LOGGED_OUT: "The phone removed this device: scan the new code.",
    Reason.CONFLICT: "WhatsApp Web is open elsewhere: close it there, then restart.",
    Reason.BLOCKED: "WhatsApp refuses this number or network: open WhatsApp on the phone.",
    Reason.STALE: _BY_ITSELF,
    Reason.SENDS_STUCK: _BY_ITSELF,
    Reason.PROFILE_CORRUPT: "The pairing is gone from its browser profile, which was damaged or"
    " deleted: scan the new code.",
    Reason.CRASH_LOOP: "It failed too often and is tried again once an hour. See the tenant's log,"
    " then restart it.",
    Reason.STORE_UNAVAILABLE: "Check PostgreSQL; it goes on by itself when it is back.",
    Reason.STORE_REFUSED: "PostgreSQL refuses the daemon: correct what the detail names; it goes on"
    " by itself.",
    Reason.MISCONFIGURED: "Correct what the detail names, then restart.",
    Reason.INTERNAL_ERROR: _BY_ITSELF,
}

_FACETS: dict[State, tuple[TenantStatus, SessionState, WorkerStatus]] = {
    S.NEW: (TenantStatus.NEW, SessionState.DISCONNECTED, WorkerStatus.STOPPED),
    S.STOPPED: (TenantStatus.PAUSED, SessionState.DISCONNECTED, WorkerStatus.STOPPED),
    S.STARTING: (TenantStatus.QR_PENDING, SessionState.DISCONNECTED, WorkerStatus.RUNNING),
    S.SCANNING: (TenantStatus.QR_PENDING, SessionState.QR_READY, WorkerStatus.RUNNING),
    S.EXPIRED: (TenantStatus.QR_PENDING, SessionState.DISCONNECTED, WorkerStatus.RUNNING),
    S.PAIRING: (TenantStatus.QR_PENDING, SessionState.DISCONNECTED, WorkerStatus.RUNNING),
    S.CONNECTED: (TenantStatus.ACTIVE, SessionState.CONNECTED, WorkerStatus.RUNNING),
    S.OFFLINE: (TenantStatus.ACTIVE, SessionState.DISCONNECTED, WorkerStatus.RUNNING),
    S.CONFLICTED: (TenantStatus.ERROR, SessionState.DISCONNECTED, WorkerStatus.RUNNING),
    S.STALE: (TenantStatus.ERROR, SessionState.DISCONNECTED, WorkerStatus.ERROR),
    S.RECOVERING: (TenantStatus.ERROR, SessionState.DISCONNECTED, WorkerStatus.ERROR),
    S.PARKED: (TenantStatus.ERROR, SessionState.DISCONNECTED, WorkerStatus.ERROR),
}


def next_state(state: State, event: Event, *, paired: bool) -> State:
    """The state after the event; WrongStateError for one the table does not know."""
    target = TRANSITIONS[state].get(event)
    if target is None:
        raise WrongStateError(f"The event {event} has no meaning in the state {state}.")
    if not paired and target is State.STOPPED:
        return State.NEW
    # Before a pairing a lost connection is no news: the page shows its code again by itself.
    return state if not paired and target is State.OFFLINE else target


def facets(state: State, *, paused: bool) -> tuple[TenantStatus, SessionState, WorkerStatus]:
    """The API's three words for a state."""
    status, session, worker = _FACETS[state]
    if paused and status is TenantStatus.ACTIVE:
        status = TenantStatus.PAUSED
    return status, session, worker


class Lifecycle:
    """One tenant's state, its snapshot and its history; the only one that changes them. It begins
    stopped, or parked for ``parked`` (``detail`` says more), which outlives the daemon.

    Memory is the truth while the daemon runs: a change that the store did not take, away or
    refusing, is stored with the next one, or by `flush`.
    """

    def __init__(
        self,
        tenant_id: TenantId,
        book: StatusBook,
        *,
        desired: DesiredState,
        paired: bool,
        paused: bool,
        last_seen_at: datetime | None = None,
        parked: Reason | None = None,
        detail: str = "",
    ) -> None:
        self.state = State.STOPPED if paired else State.NEW
        if parked is not None:
            self.state = State.PARKED
        self.seen_at_monotonic = float("-inf")
        self._book = book
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._unsaved: Event | None = None
        self._actor = "daemon"
        status, session, worker = facets(self.state, paused=paused)
        reason = parked or DEFAULT_REASON[self.state]
        self.snapshot = TenantSnapshot(
            tenant_id=tenant_id,
            status=status,
            session=session,
            worker=worker,
            desired=desired,
            reason=reason,
            next_action=NEXT_ACTION[reason],
            detail=detail if parked is not None else "",
            last_seen_at=last_seen_at,
            paired=paired,
            paused=paused,
        )

    async def apply(
        self,
        event: Event,
        *,
        reason: Reason | None = None,
        detail: str = "",
        actor: str = "daemon",
        desired: DesiredState | None = None,
    ) -> TenantSnapshot:
        """Take the event, then store it. A store that does not take it does not undo it."""
        async with self._lock:
            before = self.snapshot
            self.state, self.snapshot = self._after(event, reason, detail, desired)
            if self.snapshot != before:
                self._unsaved, self._actor = event, actor
                log.info(
                    "tenant state",
                    state=self.state,
                    reason=self.snapshot.reason,
                    event_name=event,
                    detail=detail,
                )
            self._announce()
            await self._store()
            return self.snapshot

    def seen(self, at: datetime, *, at_monotonic: float) -> None:
        """The page proved to be connected at ``at``."""
        self.seen_at_monotonic = at_monotonic
        self.snapshot = replace(self.snapshot, last_seen_at=at)
        self._announce()

    async def flush(self) -> None:
        """Store what could not be stored; of the store's errors it raises as few as `apply`."""
        async with self._lock:
            await self._store()

    async def changed(self) -> TenantSnapshot:
        """Wait for the next change of the snapshot."""
        await self._changed.wait()
        return self.snapshot

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _store(self) -> None:
        if self._unsaved is None:
            return
        try:
            await self._book.save(self.snapshot, event=self._unsaved, actor=self._actor)
        except StoreError as error:
            log.warning("tenant state not stored yet", error=str(error))
            return
        self._unsaved = None

    def _after(
        self, event: Event, reason: Reason | None, detail: str, desired: DesiredState | None
    ) -> tuple[State, TenantSnapshot]:
        """Where the event leads to; ``reason`` None: the one that follows from it."""
        before = self.snapshot
        kept = event in (E.PAUSE, E.RESUME)
        paired = self._paired_after(event)
        paused = {E.PAUSE: True, E.RESUME: False}.get(event, before.paused)
        state = next_state(self.state, event, paired=paired)
        reason = reason or self._reason_after(event, state, paused=paused)
        status, session, worker = facets(state, paused=paused)
        if event is E.LOGGED_OUT:
            session = SessionState.DISCONNECTED
        return state, replace(
            before,
            status=status,
            session=session,
            worker=worker,
            desired=desired or before.desired,
            reason=reason,
            next_action=NEXT_ACTION[reason],
            detail=before.detail if kept else detail,
            paired=paired,
            paused=paused,
            restarts=before.restarts + (event is E.FAILED),
        )

    def _paired_after(self, event: Event) -> bool:
        if event is E.READY:
            return True
        return self.snapshot.paired and event not in (E.LOGGED_OUT, E.UNLINK)

    def _reason_after(self, event: Event, state: State, *, paused: bool) -> Reason:
        if event is E.SHUTDOWN and self.snapshot.desired is DesiredState.RUNNING:
            return Reason.DAEMON_STOPPED
        if event is E.LOGGED_OUT:
            return Reason.LOGGED_OUT
        if event in (E.PAUSE, E.RESUME) and state is not S.CONNECTED:
            return self.snapshot.reason
        if event is E.QR_SHOWN and self.snapshot.reason is Reason.LOGGED_OUT:
            return Reason.LOGGED_OUT
        if event is E.QR_SHOWN and self.snapshot.paired:
            # Nobody removed the device, and still the page has no keys.
            return Reason.PROFILE_CORRUPT
        if state is S.CONNECTED and paused:
            return Reason.PAUSED_BY_ADMIN
        return DEFAULT_REASON[state]
