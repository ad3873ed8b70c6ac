"""A request with an Idempotency-Key is done once, whoever repeats it, and whatever happens."""

import asyncio
from typing import Any

import pytest

from flowhq.admin.store import PostgresStore
from flowhq.db import keys
from flowhq.db.pool import Database
from flowhq.errors import StoreUnavailableError
from flowhq.model import TenantId, TenantSnapshot
from tests.fakes.admin import FakeFleet
from tests.fakes.clock import PATIENCE_S
from tests.integration.admin.conftest import TOKEN, Answer, Api
from tests.pg import execute, fetchval

NEW = {"name": "Mama Asha", "phone_number": "+255712345678"}
KEY = {"Idempotency-Key": "3f0c9a52-1c0e-4b7a-8f6b-1f2d3c4b5a69"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


async def create(api: Api, headers: dict[str, str] = KEY, **fields: Any) -> Answer:
    return await api.call("POST", "/admin/tenants", json=NEW | fields, headers=headers)


async def tenants_of(api: Api) -> int:
    return len((await api.call("GET", "/admin/tenants")).body["items"])


async def test_a_repeat_gets_the_answer_that_was_given(api: Api) -> None:
    first, again = await create(api), await create(api)
    assert (first.status, again.status) == (201, 201)
    assert first.raw == again.raw
    for name in ("Location", "ETag", "Content-Type"):
        assert first.headers[name] == again.headers[name]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await tenants_of(api) == 1


async def test_how_the_json_is_laid_out_makes_no_difference(api: Api) -> None:
    assert (await create(api)).status == 201
    body = b'{ "phone_number" : "+255712345678",\n "name": "Mama Asha" }'
    headers = KEY | {"Content-Type": "application/json"}
    again = await api.call("POST", "/admin/tenants", data=body, headers=headers)
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_the_key_of_another_request_is_refused(api: Api) -> None:
    tenant_id = (await create(api)).body["id"]
    other = await create(api, phone_number="+255712345679")
    assert (other.status, other.kind) == (422, "idempotency-key-reused")
    path = f"/admin/tenants/{tenant_id}/worker"
    assert (await api.call("POST", f"{path}/start", headers=KEY)).status == 200
    assert (await api.call("POST", f"{path}/stop", headers=KEY)).status == 200
    assert await tenants_of(api) == 1


async def test_a_key_belongs_to_a_credential(api: Api) -> None:
    first = await create(api)
    other = await create(api, KEY | BEARER)
    assert (first.status, other.kind) == (201, "already-exists")


async def test_a_refusal_leaves_the_key_as_new(api: Api) -> None:
    await api.create(NEW["phone_number"])
    assert (await create(api)).kind == "already-exists"
    better = await create(api, phone_number="+255712345679")
    assert better.status == 201
    assert "Idempotency-Replayed" not in better.headers


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "nö", "a\tb"])
async def test_what_cannot_be_a_key_is_refused(api: Api, key: str) -> None:
    answer = await create(api, {"Idempotency-Key": key})
    assert (answer.status, answer.fields) == (400, ["Idempotency-Key"])
    assert await tenants_of(api) == 0


class SlowFleet(FakeFleet):
    """Starts nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def restart(self, tenant_id: TenantId) -> TenantSnapshot:
        self.asked.set()
        async with asyncio.timeout(PATIENCE_S):
            await self.may.wait()
        return await super().restart(tenant_id)


class TestWhileTheFirstIsInProgress:
    @pytest.fixture
    def fleet(self) -> SlowFleet:
        return SlowFleet()

    async def test_a_repeat_is_told_to_wait(self, api: Api, fleet: SlowFleet) -> None:
        path = f"/admin/tenants/{await api.create()}/worker/restart"
        first = asyncio.create_task(api.call("POST", path, headers=KEY))
        await fleet.asked.wait()
        busy = await api.call("POST", path, headers=KEY)
        assert (busy.status, busy.kind) == (409, "idempotency-in-progress")
        assert busy.headers["Retry-After"] == "1"
        fleet.may.set()
        assert (await first).status == 200
        again = await api.call("POST", path, headers=KEY)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert [verb for verb, _ in fleet.calls] == ["restart"]


async def cut_off(url: str) -> None:
    """What a daemon that was killed in the middle of a request leaves behind."""
    await execute(
        url,
        "UPDATE idempotency_keys SET done_at = NULL, status = NULL, headers = '{}', answer = NULL",
    )


async def test_a_key_left_half_way_is_run_again_where_that_does_no_harm(
    api: Api, fleet: FakeFleet, postgres_url: str
) -> None:
    path = f"/admin/tenants/{await api.create()}/pause"
    await api.call("POST", path, headers=KEY)
    await cut_off(postgres_url)
    again = await api.call("POST", path, headers=KEY)
    assert (again.status, again.headers.get("Idempotency-Replayed")) == (200, None)
    assert [verb for verb, _ in fleet.calls] == ["pause", "pause"]
    assert (await api.call("POST", path, headers=KEY)).headers["Idempotency-Replayed"] == "true"


async def test_a_key_left_half_way_is_refused_where_it_might_do_harm(
    api: Api, postgres_url: str
) -> None:
    body = {"verb": "restart", "tenants": [await api.create()]}
    assert (await api.call("POST", "/admin/bulk", json=body, headers=KEY)).status == 202
    await cut_off(postgres_url)
    lost = await api.call("POST", "/admin/bulk", json=body, headers=KEY)
    assert (lost.status, lost.kind) == (409, "idempotency-outcome-unknown")
    assert "new key" in lost.body["next_step"]


async def test_an_outage_after_the_work_leaves_the_answer_and_a_key_half_way(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError("The database is away.")

    monkeypatch.setattr(keys, "settle_key", away)
    assert (await create(api)).status == 201
    monkeypatch.undo()
    # A tenant cannot be made twice with one number, so this is run again, and says so.
    assert (await create(api)).kind == "already-exists"
    assert await tenants_of(api) == 1


async def test_neither_key_nor_body_is_stored(api: Api, postgres_url: str) -> None:
    await create(api, name="Siri Kubwa")
    await execute(postgres_url, "UPDATE idempotency_keys SET answer = NULL, headers = '{}'")
    stored = await fetchval(postgres_url, "SELECT k::text FROM idempotency_keys k")
    for secret in (KEY["Idempotency-Key"], "Siri", "255712345678"):
        assert secret not in stored
        assert secret.encode().hex() not in stored


async def test_what_was_answered_about_a_tenant_goes_with_it(api: Api, postgres_url: str) -> None:
    tenant_id = (await create(api)).body["id"]
    kept = "SELECT count(*) FROM idempotency_keys WHERE answer IS NOT NULL"
    assert await fetchval(postgres_url, kept) == 1
    assert (await api.call("DELETE", f"/admin/tenants/{tenant_id}")).status == 204
    assert await fetchval(postgres_url, kept) == 0
    again = await create(api)
    assert (again.status, again.kind) == (409, "idempotency-outcome-unknown")
    assert await tenants_of(api) == 0


async def test_a_key_is_forgotten_after_a_day(
    api: Api, database: Database, postgres_url: str
) -> None:
    await create(api)
    await execute(
        postgres_url, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"
    )
    assert (await create(api)).kind == "already-exists"
    await create(api, phone_number="+255712345679")
    await execute(
        postgres_url, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"
    )
    await keys.drop_old_keys(database)
    assert await fetchval(postgres_url, "SELECT count(*) FROM idempotency_keys") == 0


async def test_without_the_database_nothing_is_done(
    api: Api, database: Database, fleet: FakeFleet
) -> None:
    path = f"/admin/tenants/{await api.create()}/pause"
    await database.close()
    assert (await api.call("POST", path, headers=KEY)).kind == "unavailable"
    assert fleet.calls == []
    await database.open()
