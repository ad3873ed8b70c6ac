"""Tenants and their rows: made together, changed in part, listed for all, gone together."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from flowhq.db import clearing, portable
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.db.sessions import fetch_session
from flowhq.db.states import PostgresStatusBook, fetch_events
from flowhq.db.tenantlists import list_numbers, list_tenants, list_wanted
from flowhq.db.tenants import (
    NewTenant,
    create_tenant,
    delete_tenant,
    fetch_tenant,
    find_tenant,
    load_spec,
    update_tenant,
)
from flowhq.errors import (
    AlreadyExistsError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
)
from flowhq.model import (
    DesiredState,
    InboxState,
    Jid,
    Language,
    Reason,
    SessionState,
    TemplateType,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from tests.integration.db.conftest import Dies, Shop
from tests.integration.db.messages import message
from tests.integration.db.test_isolation import TABLES, furnish

NEW = NewTenant("Duka", "+255700000001", "Duka la Asha")
UNKNOWN = TenantId(uuid4())


def snapshot(tenant_id: TenantId, **changes: object) -> TenantSnapshot:
    values: dict[str, object] = {
        "tenant_id": tenant_id,
        "status": TenantStatus.QR_PENDING,
        "session": SessionState.QR_READY,
        "worker": WorkerStatus.RUNNING,
        "desired": DesiredState.RUNNING,
        "reason": Reason.SCAN_QR,
        "next_action": "",
        **changes,
    }
    return TenantSnapshot(**values)  # type: ignore[arg-type]


async def test_a_new_tenant_has_all_its_rows_with_the_defaults(store: Database) -> None:
    row = await create_tenant(store, NEW)
    assert (row.status, row.desired, row.reason, row.paused_at) == (
        TenantStatus.NEW,
        DesiredState.STOPPED,
        Reason.NOT_STARTED,
        None,
    )
    assert (row.template, row.language, row.timezone) == (
        TemplateType.BOOKING,
        Language.SW,
        "Africa/Dar_es_Salaam",
    )
    assert (row.hours, row.details) == (None, {})
    assert (row.session_state, row.last_seen_at) == (SessionState.DISCONNECTED, None)
    assert (row.worker_name, row.worker_status) == (
        f"worker-{row.tenant_id}",
        WorkerStatus.STOPPED,
    )
    assert row.created_at == row.updated_at
    assert await fetch_tenant(store, row.tenant_id) == row
    assert await find_tenant(store, UNKNOWN) is None


async def test_a_number_belongs_to_one_tenant(store: Database) -> None:
    first = await create_tenant(store, NEW)
    with pytest.raises(AlreadyExistsError) as taken:
        await create_tenant(store, NEW)
    assert taken.value.field == "phone_number"
    other = await create_tenant(store, NewTenant("B", "+255700000002", "B"))
    with pytest.raises(AlreadyExistsError) as taken:
        await update_tenant(store, other.tenant_id, {"phone_number": first.phone_number})
    assert taken.value.field == "phone_number"
    assert await fetch_tenant(store, other.tenant_id) == other


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewTenant("", "+255700000001", "x"), "name"),
        (NewTenant("x", "0700000001", "x"), "phone_number"),
        (NewTenant("a\x00b", "+255700000001", "x"), "name"),
        (NewTenant("x", "+255700000001", "a\x00b"), "business_name"),
    ],
)
async def test_what_cannot_be_stored_names_its_field(
    store: Database, new: NewTenant, field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await create_tenant(store, new)
    assert refused.value.field == field
    assert (await list_tenants(store, limit=10)).rows == []


async def test_a_change_touches_only_what_it_names(store: Database) -> None:
    before = await create_tenant(store, NEW)
    hours = {"mon": ["08:00-12:00", "13:00-18:00"]}
    after = await update_tenant(
        store, before.tenant_id, {"hours": hours, "language": Language.EN, "name": "Soko"}
    )
    assert (after.hours, after.language, after.name) == (hours, Language.EN, "Soko")
    assert (after.business_name, after.template, after.phone_number) == (
        before.business_name,
        before.template,
        before.phone_number,
    )
    assert after.updated_at > before.updated_at
    again = await update_tenant(
        store, before.tenant_id, {"hours": None, "details": {"services": ["Kukata nywele"]}}
    )
    assert again.hours is None
    assert again.details == {"services": ["Kukata nywele"]}
    assert again.name == "Soko"
    nothing = await update_tenant(store, before.tenant_id, {})
    assert (nothing.name, nothing.details) == (again.name, again.details)


async def test_a_change_of_something_unknown_is_refused(store: Database) -> None:
    row = await create_tenant(store, NEW)
    with pytest.raises(InvalidInputError) as refused:
        await update_tenant(store, row.tenant_id, {"status": "ACTIVE"})
    assert refused.value.field == "status"
    with pytest.raises(InvalidInputError) as refused:
        await update_tenant(store, row.tenant_id, {"name": "a\x00"})
    assert refused.value.field == "name"


async def test_verbs_on_an_unknown_tenant_find_nothing(store: Database) -> None:
    for call in (
        fetch_tenant(store, UNKNOWN),
        update_tenant(store, UNKNOWN, {"name": "x"}),
        delete_tenant(store, UNKNOWN),
        load_spec(store, UNKNOWN),
        fetch_session(store, UNKNOWN),
        PostgresStatusBook(store).save(snapshot(UNKNOWN), event="START", actor="admin"),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_all_tenants_are_listed_newest_first_page_by_page(store: Database) -> None:
    made = [
        (await create_tenant(store, NewTenant(f"T{n}", f"+25570000000{n}", "x"))).tenant_id
        for n in range(5)
    ]
    seen: list[TenantId] = []
    after: str | None = None
    pages = 0
    while pages == 0 or after is not None:
        page = await list_tenants(store, limit=2, after=after)
        seen += [row.tenant_id for row in page.rows]
        after, pages = page.next, pages + 1
    assert (seen, pages) == (made[::-1], 3)
    with pytest.raises(InvalidInputError) as refused:
        await list_tenants(store, limit=2, after="nonsense")
    assert refused.value.field == "after"


async def test_a_listed_tenant_is_the_fetched_one(store: Database) -> None:
    row = await create_tenant(store, NewTenant("x", "+255700000001", "x", hours={"mon": []}))
    assert (await list_tenants(store, limit=1)).rows == [row]


async def test_what_is_wanted_running_is_found_again(store: Database) -> None:
    rows = [
        await create_tenant(store, NewTenant(f"T{n}", f"+25570000000{n}", "x")) for n in range(3)
    ]
    book = PostgresStatusBook(store)
    for row in rows[1:]:
        await book.save(snapshot(row.tenant_id), event="START", actor="admin")
    assert [row.name for row in await list_wanted(store)] == ["T1", "T2"]
    stopped = snapshot(rows[1].tenant_id, desired=DesiredState.STOPPED)
    await book.save(stopped, event="STOP", actor="admin")
    assert [row.name for row in await list_wanted(store)] == ["T2"]


async def test_a_pause_keeps_its_first_time(store: Database) -> None:
    row = await create_tenant(store, NEW)
    book, paused = PostgresStatusBook(store), snapshot(row.tenant_id, paused=True)
    await book.save(paused, event="PAUSE", actor="admin")
    first = (await fetch_tenant(store, row.tenant_id)).paused_at
    await book.save(paused, event="PAUSE", actor="admin")
    assert first is not None
    assert (await fetch_tenant(store, row.tenant_id)).paused_at == first
    await book.save(snapshot(row.tenant_id), event="RESUME", actor="admin")
    assert (await fetch_tenant(store, row.tenant_id)).paused_at is None


async def test_a_spec_has_what_the_runner_needs(store: Database, any_url: str) -> None:
    row = await create_tenant(store, NewTenant("Duka", "+255700000001", "D", details={"a": 1}))
    spec = await load_spec(store, row.tenant_id)
    assert (spec.tenant_id, spec.business_name, spec.details) == (row.tenant_id, "D", {"a": 1})
    async with store.tenant(row.tenant_id) as tx:
        await tx.execute("DELETE FROM tenant_configs")
    with pytest.raises(MisconfiguredError, match="no configuration") as refused:
        await load_spec(store, row.tenant_id)
    assert refused.value.next_step
    assert (await fetch_tenant(store, row.tenant_id)).template is None


async def test_a_deleted_tenant_leaves_no_row_behind(
    shop: Shop, other_shop: Shop, any_url: str
) -> None:
    await furnish(shop, other_shop)
    await delete_tenant(shop.database, shop.tenant_id)
    async with owner_connection(any_url) as connection:
        tables = await connection.fetch(
            "SELECT c.relname::text AS name FROM pg_class c JOIN pg_attribute a "
            "ON a.attrelid = c.oid WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') "
            "AND NOT c.relispartition"
        )
        for table in tables:
            await connection.execute(f"ALTER TABLE {table['name']} NO FORCE ROW LEVEL SECURITY")
            owners = await connection.fetch(
                f"SELECT DISTINCT tenant_id FROM {table['name']}"  # noqa: S608
            )
            assert {row["tenant_id"] for row in owners} == {other_shop.tenant_id}, table["name"]
    assert len(tables) == len(TABLES) - 1


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "STEPS", tuple((sql, 3) for sql, _ in clearing.STEPS))


async def fill(shop: Shop, chats: int) -> None:
    """A message that nobody answered yet in each of them."""
    for number in range(chats):
        chat = Jid(f"2557100000{number:02}@c.us")
        one = message(f"3A{number:06}", chat=chat, sender=chat)
        await shop.ledger.record(one, state=InboxState.NEW)


async def rows_of(shop: Shop) -> Mapping[str, int]:
    async with shop.database.tenant(shop.tenant_id) as tx:
        return await portable.count_rows(tx, shop.tenant_id)


@pytest.mark.usefixtures("small_batches")
async def test_a_large_tenant_goes_by_the_batch_and_nothing_of_another(
    shop: Shop, other_shop: Shop
) -> None:
    await fill(shop, 10)
    await fill(other_shop, 10)
    before = await rows_of(other_shop)
    assert before["conversations"] == 10
    await delete_tenant(shop.database, shop.tenant_id)
    assert await rows_of(shop) == {}
    assert await rows_of(other_shop) == before


@pytest.mark.usefixtures("small_batches")
async def test_a_deletion_that_was_broken_off_goes_on_when_it_is_asked_for_again(
    shop: Shop, any_url: str
) -> None:
    await fill(shop, 10)
    dying = Dies(any_url)
    # The log in four batches, two of the inbox.
    dying.lives = 6
    async with dying:
        with pytest.raises(StoreUnavailableError):
            await delete_tenant(dying, shop.tenant_id)
    left = await rows_of(shop)
    assert "message_logs" not in left
    assert (left["inbox"], left["conversations"], left["tenants"]) == (4, 10, 1)
    await delete_tenant(shop.database, shop.tenant_id)
    assert await rows_of(shop) == {}


# -- states --------------------------------------------------------------------------------------


async def test_a_state_is_kept_with_its_history(store: Database) -> None:
    tenant_id = (await create_tenant(store, NEW)).tenant_id
    book = PostgresStatusBook(store)
    await book.save(snapshot(tenant_id), event="START", actor="admin")
    row = await fetch_tenant(store, tenant_id)
    assert (row.status, row.reason, row.desired) == (
        TenantStatus.QR_PENDING,
        Reason.SCAN_QR,
        DesiredState.RUNNING,
    )
    assert (row.session_state, row.worker_status) == (SessionState.QR_READY, WorkerStatus.RUNNING)
    assert row.started_at is not None
    failed = snapshot(
        tenant_id,
        status=TenantStatus.ERROR,
        session=SessionState.DISCONNECTED,
        worker=WorkerStatus.ERROR,
        reason=Reason.CRASH_LOOP,
        detail="11 restarts",
        restarts=11,
        paused=True,
    )
    await book.save(failed, event="PARK", actor="daemon")
    row = await fetch_tenant(store, tenant_id)
    assert (row.last_error, row.restarts, row.detail) == ("11 restarts", 11, "11 restarts")
    assert row.paused_at is not None
    (newest, oldest) = (await fetch_events(store, tenant_id, limit=10)).rows
    assert (oldest.from_status, oldest.to_status, oldest.event, oldest.actor) == (
        TenantStatus.NEW,
        TenantStatus.QR_PENDING,
        "START",
        "admin",
    )
    assert (newest.from_status, newest.to_status, newest.reason, newest.detail) == (
        TenantStatus.QR_PENDING,
        TenantStatus.ERROR,
        Reason.CRASH_LOOP,
        "11 restarts",
    )
    await book.save(snapshot(tenant_id), event="START", actor="admin")
    row = await fetch_tenant(store, tenant_id)
    assert (row.last_error, row.paused_at) == (None, None)


async def test_a_state_saved_again_is_no_event(store: Database) -> None:
    tenant_id = (await create_tenant(store, NEW)).tenant_id
    book = PostgresStatusBook(store)
    for restarts in range(3):
        await book.save(snapshot(tenant_id, restarts=restarts), event="X", actor="daemon")
    assert len((await fetch_events(store, tenant_id, limit=10)).rows) == 1
    assert (await fetch_tenant(store, tenant_id)).restarts == 2


async def test_events_are_paged(store: Database) -> None:
    tenant_id = (await create_tenant(store, NEW)).tenant_id
    book = PostgresStatusBook(store)
    for number in range(5):
        reason = Reason.SCAN_QR if number % 2 else Reason.PAIRING
        await book.save(snapshot(tenant_id, reason=reason), event=f"E{number}", actor="daemon")
    first = await fetch_events(store, tenant_id, limit=3)
    rest = await fetch_events(store, tenant_id, limit=3, before=first.next)
    names = [row.event for row in [*first.rows, *rest.rows]]
    assert names == ["E4", "E3", "E2", "E1", "E0"]
    assert rest.next is None
    for odd in ("x", "-1", "9" * 30, "\u0661"):
        with pytest.raises(InvalidInputError) as refused:
            await fetch_events(store, tenant_id, limit=3, before=odd)
        assert refused.value.field == "before"


# -- the pairing ---------------------------------------------------------------------------------


async def test_a_code_is_kept_while_it_is_on_show(shop: Shop) -> None:
    expires_at = datetime(2026, 11, 21, tzinfo=UTC)
    book = PostgresStatusBook(shop.database)
    await shop.ledger.save_qr(text="2@abc", data_url="data:image/png;x", expires_at=expires_at)
    await book.save(snapshot(shop.tenant_id), event="QR_SHOWN", actor="daemon")
    session = await fetch_session(shop.database, shop.tenant_id)
    assert (session.last_qr, session.last_qr_text, session.last_qr_expires_at) == (
        "data:image/png;x",
        "2@abc",
        expires_at,
    )
    assert "2@abc" not in repr(session)
    assert "png" not in repr(session)
    gone = snapshot(
        shop.tenant_id, session=SessionState.DISCONNECTED, reason=Reason.PAIRING_EXPIRED
    )
    await book.save(gone, event="QR_IDLE", actor="daemon")
    session = await fetch_session(shop.database, shop.tenant_id)
    assert (session.last_qr, session.last_qr_text, session.last_qr_expires_at) == (None,) * 3


async def test_pairing_is_dated_once_and_forgotten_whole(shop: Shop) -> None:
    await shop.ledger.save_qr(text="2@abc", data_url="data:image/png;x", expires_at=None)
    first = await shop.ledger.save_identity(phone="255700000001", lid="555")
    assert await shop.ledger.save_identity(phone="255700000001", lid="") == first
    session = await fetch_session(shop.database, shop.tenant_id)
    assert (session.own_jid, session.paired_at, session.last_qr) == (
        "255700000001@c.us",
        first,
        None,
    )
    await shop.ledger.forget_pairing()
    session = await fetch_session(shop.database, shop.tenant_id)
    assert (session.own_jid, session.paired_at) == ("255700000001@c.us", None)
    seen_at = await shop.ledger.touch()
    assert (await fetch_session(shop.database, shop.tenant_id)).last_seen_at == seen_at


async def test_another_number_is_another_pairing_though_nobody_unlinked_the_one_before(
    shop: Shop,
) -> None:
    first = await shop.ledger.save_identity(phone="255700000001", lid="555")
    second = await shop.ledger.save_identity(phone="255700000002", lid="")
    session = await fetch_session(shop.database, shop.tenant_id)
    assert second > first
    assert (session.own_jid, session.own_lid, session.paired_at) == (
        "255700000002@c.us",
        None,
        second,
    )
    assert await shop.ledger.save_identity(phone="", lid="777") == second
    session = await fetch_session(shop.database, shop.tenant_id)
    assert (session.own_jid, session.own_lid) == ("255700000002@c.us", "777@lid")


async def test_an_enum_value_that_is_none_is_refused(store: Database) -> None:
    row = await create_tenant(store, NEW)
    with pytest.raises((InvalidInputError, StoreRefusedError)):
        await update_tenant(store, row.tenant_id, {"language": "FR"})


async def test_the_numbers_of_every_tenant_are_told_as_digits(shop: Shop, other_shop: Shop) -> None:
    await shop.ledger.save_identity(phone="255799999999", lid="100200300")
    found = {one.tenant_id: one for one in await list_numbers(shop.database)}
    mine, theirs = found[shop.tenant_id], found[other_shop.tenant_id]
    assert (mine.phone, mine.paired_phone, mine.paired_lid) == (
        "255700000001",
        "255799999999",
        "100200300",
    )
    assert (theirs.phone, theirs.paired_phone, theirs.paired_lid) == ("255700000002", "", "")
    assert "2557" not in repr(mine)
