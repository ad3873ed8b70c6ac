"""Owners, setup requests and portal keys as they are stored."""

import asyncio
from typing import Any

import pytest

from flowhq.db import portal, portalkeys, setup, tenantlists, tenants
from flowhq.db.pool import Database
from flowhq.db.portal import NewOwner, PortalEvent, PortalUser
from flowhq.db.setup import NewRequest, SetupRequest, SetupStatus
from flowhq.db.states import PostgresStatusBook
from flowhq.errors import (
    AlreadyExistsError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    WrongStateError,
)
from flowhq.model import (
    DesiredState,
    Language,
    Reason,
    SessionState,
    TemplateType,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)

ASHA = NewOwner("asha@example.com", name="Asha", business_name="Duka la Asha")
SHOP = NewRequest(TemplateType.ECOMMERCE, "+255700000005", "Naomba msaada")


@pytest.fixture
async def asha(store: Database) -> PortalUser:
    user, created = await portal.sign_in(store, ASHA)
    assert created
    return user


@pytest.fixture
async def asked(store: Database, asha: PortalUser) -> SetupRequest:
    return await setup.submit(store, asha, SHOP)


async def events(database: Database, tenant_id: TenantId) -> list[str]:
    async with database.tenant(tenant_id) as tx:
        rows = await tx.fetch("SELECT event_type FROM portal_event_logs ORDER BY id")
    return [row["event_type"] for row in rows]


async def count(database: Database, tenant_id: TenantId, table: str) -> Any:
    async with database.tenant(tenant_id) as tx:
        return await tx.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - names below


def snapshot(tenant_id: TenantId, session: SessionState) -> TenantSnapshot:
    connected = session is SessionState.CONNECTED
    return TenantSnapshot(
        tenant_id=tenant_id,
        status=TenantStatus.ACTIVE if connected else TenantStatus.QR_PENDING,
        session=session,
        worker=WorkerStatus.RUNNING,
        desired=DesiredState.RUNNING,
        reason=Reason.CONNECTED if connected else Reason.SCAN_QR,
        next_action="",
    )


# -- owners ----------------------------------------------------------------------------------------


async def test_the_first_sign_in_makes_a_tenant_with_all_its_rows(
    store: Database, asha: PortalUser
) -> None:
    row = await tenants.fetch_tenant(store, asha.tenant_id)
    assert (row.name, row.business_name, row.phone_number) == (
        "Duka la Asha",
        "Duka la Asha",
        None,
    )
    assert (row.status, row.session_state, row.worker_status) == (
        TenantStatus.NEW,
        SessionState.DISCONNECTED,
        WorkerStatus.STOPPED,
    )
    assert row.language is Language.SW
    for table in ("tenant_configs", "whatsapp_sessions", "worker_processes", "portal_users"):
        assert await count(store, asha.tenant_id, table) == 1, table
    assert await events(store, asha.tenant_id) == ["SIGNED_UP"]


async def test_a_later_sign_in_finds_the_same_owner(store: Database, asha: PortalUser) -> None:
    again, created = await portal.sign_in(store, NewOwner("asha@example.com", name="Other"))
    assert (again, created) == (asha, False)
    assert await events(store, asha.tenant_id) == ["SIGNED_UP", "SIGNED_IN"]
    assert len((await tenantlists.list_tenants(store, limit=10)).rows) == 1


async def test_first_sign_ins_at_once_make_one_tenant(store: Database) -> None:
    found = await asyncio.gather(*(portal.sign_in(store, ASHA) for _ in range(6)))
    assert len({user.tenant_id for user, _ in found}) == 1
    assert [created for _, created in found].count(True) == 1
    assert len((await tenantlists.list_tenants(store, limit=10)).rows) == 1


async def test_owners_without_a_number_are_many_and_cannot_be_started(store: Database) -> None:
    for name in ("asha", "juma"):
        user, _ = await portal.sign_in(store, NewOwner(f"{name}@example.com"))
        assert (await tenants.fetch_tenant(store, user.tenant_id)).name == name
        with pytest.raises(MisconfiguredError, match="no phone number"):
            await tenants.load_spec(store, user.tenant_id)
    assert {one.phone for one in await tenantlists.list_numbers(store)} == {""}


async def test_an_address_is_stored_in_lower_case_only(store: Database) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await portal.sign_in(store, NewOwner("Asha@example.com"))
    assert refused.value.field == "email"
    assert (await tenantlists.list_tenants(store, limit=10)).rows == []


async def test_nobody_is_found_under_a_strange_address(store: Database, asha: PortalUser) -> None:
    assert await portal.find_user(store, asha.email) == asha
    for strange in ("juma@example.com", "%", "asha@example.co_"):
        assert await portal.find_user(store, strange) is None


async def test_a_profile_keeps_what_is_not_named(store: Database, asha: PortalUser) -> None:
    changed = await portal.update_user(store, asha, {"phone": "+255700000009"})
    assert (changed.name, changed.phone) == ("Asha", "+255700000009")
    changed = await portal.update_user(store, asha, {"name": "Asha B", "phone": None})
    assert (changed.name, changed.phone) == ("Asha B", None)
    assert await portal.find_user(store, asha.email) == changed


async def test_an_owner_goes_with_the_tenant_and_may_begin_anew(
    store: Database, asha: PortalUser, asked: SetupRequest
) -> None:
    await tenants.delete_tenant(store, asha.tenant_id)
    assert await portal.find_user(store, asha.email) is None
    with pytest.raises(NotFoundError):
        await setup.fetch_request(store, asked.request_id)
    anew, created = await portal.sign_in(store, ASHA)
    assert created
    assert anew.tenant_id != asha.tenant_id


# -- setup requests --------------------------------------------------------------------------------


async def test_a_request_goes_from_submitted_to_active_by_the_first_connection(
    store: Database, asha: PortalUser, asked: SetupRequest
) -> None:
    book = PostgresStatusBook(store)
    assert (asked.status, asked.tenant_name, asked.user_email) == (
        SetupStatus.SUBMITTED,
        "Duka la Asha",
        "asha@example.com",
    )
    looked_at = await setup.review(store, asked, by="user:neema")
    assert (looked_at.status, looked_at.decided_by) == (SetupStatus.REVIEWING, "user:neema")
    approved = await setup.approve(store, asked, by="user:neema")
    assert approved.status is SetupStatus.APPROVED
    row = await tenants.fetch_tenant(store, asha.tenant_id)
    assert (row.phone_number, row.template, row.desired) == (
        "+255700000005",
        TemplateType.ECOMMERCE,
        DesiredState.RUNNING,
    )
    for session in (SessionState.QR_READY, SessionState.CONNECTED, SessionState.CONNECTED):
        await book.save(snapshot(asha.tenant_id, session), event="x", actor="channel")
        wanted = SetupStatus.ACTIVE if session is SessionState.CONNECTED else SetupStatus.APPROVED
        assert (await setup.fetch_request(store, asked.request_id)).status is wanted
    active = await setup.latest(store, asha.tenant_id)
    assert active is not None
    assert active.active_at is not None
    assert await events(store, asha.tenant_id) == [
        "SIGNED_UP",
        "SETUP_REQUESTED",
        "SETUP_REVIEWING",
        "SETUP_APPROVED",
        "SETUP_ACTIVE",
    ]


async def test_a_connection_without_an_approval_makes_nothing_active(
    store: Database, asha: PortalUser, asked: SetupRequest
) -> None:
    await PostgresStatusBook(store).save(
        snapshot(asha.tenant_id, SessionState.CONNECTED), event="ready", actor="channel"
    )
    assert (await setup.fetch_request(store, asked.request_id)).status is SetupStatus.SUBMITTED


@pytest.mark.parametrize("steps", [(), ("review",), ("approve",), ("review", "approve")])
async def test_a_second_request_is_refused_while_one_is_open(
    store: Database, asha: PortalUser, asked: SetupRequest, steps: tuple[str, ...]
) -> None:
    for step in steps:
        await getattr(setup, step)(store, asked, by="x")
    with pytest.raises(AlreadyExistsError) as refused:
        await setup.submit(store, asha, SHOP)
    assert refused.value.field == "setup_request"
    assert await count(store, asha.tenant_id, "setup_requests") == 1


async def test_two_requests_at_once_are_one(store: Database, asha: PortalUser) -> None:
    results = await asyncio.gather(
        *(setup.submit(store, asha, SHOP) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(result, SetupRequest) for result in results) == 1
    assert sum(isinstance(result, AlreadyExistsError) for result in results) == 3


async def test_after_a_rejection_another_request_may_be_sent(
    store: Database, asha: PortalUser, asked: SetupRequest
) -> None:
    rejected = await setup.reject(store, asked, by="user:neema", reason="Namba si sahihi")
    assert (rejected.status, rejected.reason) == (SetupStatus.REJECTED, "Namba si sahihi")
    assert (await tenants.fetch_tenant(store, asha.tenant_id)).phone_number is None
    again = await setup.submit(store, asha, SHOP)
    newest = await setup.latest(store, asha.tenant_id)
    assert newest == again


@pytest.mark.parametrize("decided", ["approve", "reject"])
@pytest.mark.parametrize("then", ["approve", "reject", "review"])
async def test_what_is_decided_stays_decided(
    store: Database, asked: SetupRequest, decided: str, then: str
) -> None:
    async def decide(step: str) -> SetupRequest:
        reason = {"reason": "x"} if step == "reject" else {}
        request: SetupRequest = await getattr(setup, step)(store, asked, by="x", **reason)
        return request

    first = await decide(decided)
    with pytest.raises(WrongStateError, match=first.status.value):
        await decide(then)
    assert await setup.fetch_request(store, asked.request_id) == first


async def test_a_number_in_use_cannot_be_approved_and_nothing_changes(
    store: Database, asha: PortalUser, asked: SetupRequest
) -> None:
    await tenants.create_tenant(store, tenants.NewTenant("Other", SHOP.whatsapp_number, "Other"))
    with pytest.raises(AlreadyExistsError) as refused:
        await setup.approve(store, asked, by="x")
    assert refused.value.field == "phone_number"
    assert await setup.fetch_request(store, asked.request_id) == asked
    row = await tenants.fetch_tenant(store, asha.tenant_id)
    assert (row.phone_number, row.desired) == (None, DesiredState.STOPPED)


async def test_the_list_is_by_status_by_reach_and_by_page(store: Database) -> None:
    made: list[SetupRequest] = []
    for number in range(5):
        user, _ = await portal.sign_in(store, NewOwner(f"u{number}@example.com"))
        new = NewRequest(TemplateType.BOOKING, f"+25570000001{number}")
        made.insert(0, await setup.submit(store, user, new))
    await setup.reject(store, made[2], by="x", reason="x")

    async def ids(**which: Any) -> list[Any]:
        found: list[Any] = []
        place = None
        while True:
            page = await setup.list_requests(
                store, **{"status": None, "tenants": None} | which, limit=2, after=place
            )
            assert len(page.rows) <= 2
            found += [row.request_id for row in page.rows]
            place = page.next
            if place is None:
                return found

    all_ids = [request.request_id for request in made]
    assert await ids() == all_ids
    assert await ids(status=SetupStatus.REJECTED) == [all_ids[2]]
    assert await ids(status=SetupStatus.SUBMITTED) == all_ids[:2] + all_ids[3:]
    assert await ids(tenants=[made[1].tenant_id, made[4].tenant_id]) == [all_ids[1], all_ids[4]]
    assert await ids(tenants=[]) == []


# -- keys ------------------------------------------------------------------------------------------


async def test_a_key_is_known_by_its_sum_alone(store: Database) -> None:
    made = await portalkeys.create_key(store, "web")
    assert made.secret.startswith("fhp_")
    assert made.secret not in repr(made)
    found = await portalkeys.check_key(store, made.secret)
    assert found is not None
    assert (found.key_id, found.name) == (made.key.key_id, "web")
    (listed,) = await portalkeys.list_keys(store)
    assert listed.last_used_at is not None
    for wrong in (made.secret[:-1], made.secret + "x", "", "fhp_", "\udce9"):
        assert await portalkeys.check_key(store, wrong) is None
    async with store.installation() as tx:
        stored = await tx.fetchval("SELECT k::text FROM portal_keys k")
    assert made.secret not in stored


async def test_two_keys_live_and_a_retired_one_makes_room(store: Database) -> None:
    first, second = [await portalkeys.create_key(store, name) for name in ("old", "new")]
    with pytest.raises(WrongStateError, match="Two"):
        await portalkeys.create_key(store, "third")
    retired = await portalkeys.retire_key(store, first.key.key_id)
    assert await portalkeys.retire_key(store, first.key.key_id) == retired
    assert await portalkeys.check_key(store, first.secret) is None
    assert await portalkeys.check_key(store, second.secret) is not None
    await portalkeys.create_key(store, "third")


async def test_keys_made_at_once_are_two(store: Database) -> None:
    results = await asyncio.gather(
        *(portalkeys.create_key(store, f"k{n}") for n in range(5)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, WrongStateError)]
    alive = [key for key in await portalkeys.list_keys(store) if key.retired_at is None]
    assert len(alive) <= 2
    assert len(alive) + len(refused) == 5


def test_the_events_have_names_of_their_own() -> None:
    assert {event.value for event in PortalEvent} == {event.name for event in PortalEvent}
