"""Every state against every event, and what a tenant's snapshot and history say of it."""

import asyncio
from datetime import UTC, datetime

import pytest

from flowhq.bot.lifecycle import (
    DEFAULT_REASON,
    NEXT_ACTION,
    TRANSITIONS,
    Event,
    Lifecycle,
    State,
    facets,
    next_state,
)
from flowhq.errors import WrongStateError
from flowhq.model import DesiredState, Reason, SessionState, TenantStatus, WorkerStatus
from tests.fakes.clock import until
from tests.fakes.ledger import TENANT
from tests.fakes.statusbook import FakeStatusBook

S, E = State, Event

# Written down a second time on purpose, state by state, for a paired tenant: a slip in the table
# must not be able to pass as its own proof.
_OPERATOR = {E.START: S.STARTING, E.STOP: S.STOPPED, E.SHUTDOWN: S.STOPPED, E.PARK: S.PARKED}
_PAGE = {
    E.QR_SHOWN: S.SCANNING,
    E.QR_IDLE: S.EXPIRED,
    E.SCANNED: S.PAIRING,
    E.READY: S.CONNECTED,
    E.LOST: S.OFFLINE,
    E.LOGGED_OUT: S.SCANNING,
    E.CONFLICT: S.CONFLICTED,
    E.FAILED: S.RECOVERING,
}
EXPECTED: dict[State, dict[Event, State]] = {
    S.NEW: {E.START: S.STARTING, E.STOP: S.NEW, E.SHUTDOWN: S.NEW, E.UNLINK: S.NEW},
    S.STOPPED: {E.START: S.STARTING, E.STOP: S.STOPPED, E.SHUTDOWN: S.STOPPED, E.UNLINK: S.NEW},
    S.STARTING: {**_OPERATOR, **_PAGE},
    S.SCANNING: {**_OPERATOR, **_PAGE, E.LOST: S.SCANNING},
    S.EXPIRED: {**_OPERATOR, **_PAGE, E.LOST: S.EXPIRED},
    S.PAIRING: {**_OPERATOR, **_PAGE},
    S.CONNECTED: {**_OPERATOR, **_PAGE, E.STALE: S.STALE},
    S.OFFLINE: {**_OPERATOR, **_PAGE, E.STALE: S.STALE},
    S.CONFLICTED: {**_OPERATOR, **_PAGE},
    S.STALE: {**_OPERATOR, **_PAGE, E.STALE: S.STALE},
    S.RECOVERING: {**_OPERATOR, E.FAILED: S.RECOVERING},
    S.PARKED: {**_OPERATOR, E.FAILED: S.PARKED},
}
PAIRS = [(state, event) for state in State for event in Event]


def at(state: State, *, paired: bool = True, paused: bool = False) -> Lifecycle:
    lifecycle = Lifecycle(
        TENANT, FakeStatusBook(), desired=DesiredState.RUNNING, paired=paired, paused=paused
    )
    lifecycle.state = state
    return lifecycle


def new(
    *, paired: bool = True, desired: DesiredState = DesiredState.RUNNING
) -> tuple[Lifecycle, FakeStatusBook]:
    book = FakeStatusBook()
    return Lifecycle(TENANT, book, desired=desired, paired=paired, paused=False), book


# -- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), PAIRS)
async def test_each_event_in_each_state_does_what_the_table_says(
    state: State, event: Event
) -> None:
    lifecycle = at(state)
    before = lifecycle.snapshot
    target = state if event in (E.PAUSE, E.RESUME) else EXPECTED[state].get(event)
    if target is None:
        with pytest.raises(WrongStateError):
            await lifecycle.apply(event)
        assert lifecycle.state is state
        assert lifecycle.snapshot == before
    else:
        await lifecycle.apply(event)
        assert lifecycle.state is target


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_tenant_without_a_pairing_is_never_stopped_or_offline(state: State, event: Event) -> None:
    if event not in TRANSITIONS[state]:
        with pytest.raises(WrongStateError):
            next_state(state, event, paired=False)
    elif state not in (S.STOPPED, S.OFFLINE):
        assert next_state(state, event, paired=False) not in (S.STOPPED, S.OFFLINE)


@pytest.mark.parametrize("state", State)
def test_each_state_has_words_for_the_api_and_a_reason(state: State) -> None:
    status, session, worker = facets(state, paused=False)
    assert isinstance(status, TenantStatus)
    assert isinstance(session, SessionState)
    assert isinstance(worker, WorkerStatus)
    assert state in DEFAULT_REASON


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_next_action(reason: Reason) -> None:
    action = NEXT_ACTION[reason]
    assert bool(action) is (reason not in (Reason.NONE, Reason.CONNECTED))


@pytest.mark.parametrize("state", State)
def test_pausing_shows_on_active_tenants_only(state: State) -> None:
    plain, paused = facets(state, paused=False), facets(state, paused=True)
    if plain[0] is TenantStatus.ACTIVE:
        assert paused[0] is TenantStatus.PAUSED
    else:
        assert paused == plain
    assert paused[1:] == plain[1:]


@pytest.mark.parametrize("state", State)
def test_only_a_connected_tenant_is_active_and_connected(state: State) -> None:
    status, session, _ = facets(state, paused=False)
    assert (session is SessionState.CONNECTED) is (state is S.CONNECTED)
    if status is TenantStatus.ACTIVE:
        assert state in (S.CONNECTED, S.OFFLINE)


# -- a life ---------------------------------------------------------------------------------------


async def test_a_first_pairing_goes_from_new_to_active() -> None:
    lifecycle, book = new(paired=False)
    assert lifecycle.snapshot.status is TenantStatus.NEW
    for event in (E.START, E.QR_SHOWN, E.SCANNED, E.READY):
        await lifecycle.apply(event)
    assert [one.status for one, _, _ in book.history] == [
        TenantStatus.QR_PENDING,
        TenantStatus.QR_PENDING,
        TenantStatus.QR_PENDING,
        TenantStatus.ACTIVE,
    ]
    assert lifecycle.snapshot.paired
    assert lifecycle.snapshot.session is SessionState.CONNECTED
    assert lifecycle.snapshot.reason is Reason.CONNECTED


async def test_a_stop_before_any_pairing_leads_back_to_new() -> None:
    lifecycle, _ = new(paired=False)
    await lifecycle.apply(E.START)
    await lifecycle.apply(E.QR_SHOWN)
    await lifecycle.apply(E.STOP, desired=DesiredState.STOPPED)
    assert lifecycle.state is S.NEW
    assert lifecycle.snapshot.reason is Reason.NOT_STARTED


async def test_codes_that_run_out_are_expired_and_no_error() -> None:
    lifecycle, _ = new(paired=False)
    for event in (E.START, E.QR_SHOWN, E.QR_IDLE):
        await lifecycle.apply(event)
    expired = lifecycle.snapshot
    assert expired.status is TenantStatus.QR_PENDING
    assert expired.reason is Reason.PAIRING_EXPIRED
    shown = await lifecycle.apply(E.QR_SHOWN)
    assert shown.session is SessionState.QR_READY
    assert shown.reason is Reason.SCAN_QR


async def test_a_logged_out_tenant_is_unpaired_and_the_reason_stays_while_its_code_shows() -> None:
    lifecycle, _ = new()
    await lifecycle.apply(E.START)
    await lifecycle.apply(E.READY)
    told = await lifecycle.apply(E.LOGGED_OUT, detail="removed by the phone")
    assert not told.paired
    assert told.session is SessionState.DISCONNECTED
    assert told.reason is Reason.LOGGED_OUT
    shown = await lifecycle.apply(E.QR_SHOWN)
    assert shown.session is SessionState.QR_READY
    assert shown.reason is Reason.LOGGED_OUT
    await lifecycle.apply(E.SCANNED)
    paired = await lifecycle.apply(E.READY)
    assert paired.paired
    assert paired.reason is Reason.CONNECTED


@pytest.mark.parametrize("event", [E.START, E.SCANNED])
async def test_a_connection_lost_before_the_first_pairing_makes_no_active_tenant(
    event: Event,
) -> None:
    lifecycle, _ = new(paired=False)
    await lifecycle.apply(E.START)
    await lifecycle.apply(event)
    before = lifecycle.state
    snapshot = await lifecycle.apply(E.LOST)
    assert lifecycle.state is before
    assert snapshot.status is TenantStatus.QR_PENDING


async def test_the_end_of_the_daemon_keeps_the_wish_to_run() -> None:
    lifecycle, book = new()
    await lifecycle.apply(E.START)
    await lifecycle.apply(E.READY)
    snapshot = await lifecycle.apply(E.SHUTDOWN)
    assert snapshot.desired is DesiredState.RUNNING
    assert snapshot.reason is Reason.DAEMON_STOPPED
    assert book.saved[-1][0] == snapshot


async def test_failures_are_counted_and_other_events_are_not() -> None:
    lifecycle, _ = new()
    for event in (E.START, E.FAILED, E.START, E.READY, E.FAILED, E.PARK):
        await lifecycle.apply(event)
    assert lifecycle.snapshot.restarts == 2


async def test_pausing_keeps_state_reason_and_detail_of_a_parked_tenant() -> None:
    lifecycle, _ = new()
    await lifecycle.apply(E.START)
    await lifecycle.apply(E.PARK, reason=Reason.CHROMIUM_MISSING, detail="no chromium here")
    for event in (E.PAUSE, E.RESUME):
        snapshot = await lifecycle.apply(event)
        assert lifecycle.state is S.PARKED
        assert snapshot.reason is Reason.CHROMIUM_MISSING
        assert snapshot.detail == "no chromium here"


async def test_pausing_a_connected_tenant_shows_as_paused_until_resumed() -> None:
    lifecycle, _ = new()
    await lifecycle.apply(E.START)
    await lifecycle.apply(E.READY)
    paused = await lifecycle.apply(E.PAUSE, actor="admin")
    assert paused.status is TenantStatus.PAUSED
    assert paused.session is SessionState.CONNECTED
    assert paused.reason is Reason.PAUSED_BY_ADMIN
    assert (await lifecycle.apply(E.LOST)).paused
    assert (await lifecycle.apply(E.READY)).reason is Reason.PAUSED_BY_ADMIN
    resumed = await lifecycle.apply(E.RESUME, actor="admin")
    assert resumed.status is TenantStatus.ACTIVE
    assert resumed.reason is Reason.CONNECTED


# -- storing and telling --------------------------------------------------------------------------


async def test_an_event_that_changes_nothing_is_not_stored_again() -> None:
    lifecycle, book = new()
    await lifecycle.apply(E.START)
    await lifecycle.apply(E.QR_SHOWN)
    saved = len(book.saved)
    await lifecycle.apply(E.QR_SHOWN)
    assert len(book.saved) == saved


async def test_a_change_survives_an_outage_and_is_stored_with_its_actor_by_a_flush() -> None:
    lifecycle, book = new()
    book.outages.down = True
    await lifecycle.apply(E.START, actor="admin")
    assert lifecycle.state is S.STARTING
    assert book.saved == []
    await lifecycle.flush()
    book.outages.down = False
    await lifecycle.flush()
    assert [(event, actor) for _, event, actor in book.saved] == [(E.START, "admin")]
    await lifecycle.flush()
    assert len(book.saved) == 1


async def test_after_an_outage_the_next_change_stores_the_present_state() -> None:
    lifecycle, book = new()
    book.outages.fail("save")
    await lifecycle.apply(E.START)
    await lifecycle.apply(E.READY)
    assert [one for one, _, _ in book.saved] == [lifecycle.snapshot]


async def test_a_cancelled_save_leaves_the_change_to_be_stored_later() -> None:
    lifecycle, book = new()
    gate = book.outages.hold("save")
    applying = asyncio.create_task(lifecycle.apply(E.START))
    await until(lambda: book.outages.calls)
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    gate.set()
    assert lifecycle.state is S.STARTING
    await lifecycle.flush()
    assert book.saved[-1][0] == lifecycle.snapshot


async def test_two_changes_at_once_are_stored_in_their_order() -> None:
    lifecycle, book = new()
    await asyncio.gather(lifecycle.apply(E.START), lifecycle.apply(E.READY))
    assert [event for _, event, _ in book.saved] == [E.START, E.READY]
    assert book.saved[-1][0] == lifecycle.snapshot


async def test_whoever_waits_for_a_change_gets_it_even_when_it_cannot_be_stored() -> None:
    lifecycle, book = new()
    book.outages.down = True
    waiting = asyncio.create_task(lifecycle.changed())
    await asyncio.sleep(0)
    await lifecycle.apply(E.START)
    assert (await waiting).status is TenantStatus.QR_PENDING


async def test_a_proof_of_life_is_in_the_snapshot_and_told() -> None:
    lifecycle, book = new()
    moment = datetime(2026, 11, 2, 9, tzinfo=UTC)
    waiting = asyncio.create_task(lifecycle.changed())
    await asyncio.sleep(0)
    lifecycle.seen(moment, at_monotonic=5.0)
    assert (await waiting).last_seen_at == moment
    assert lifecycle.seen_at_monotonic == 5.0
    assert book.saved == []
