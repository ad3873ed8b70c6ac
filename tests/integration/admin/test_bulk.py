"""One verb over many tenants: chosen within reach, a few at a time, each with its own outcome."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from flowhq.admin.bulk import AT_ONCE, RUNS_MAX
from flowhq.admin.ports import Store
from flowhq.admin.server import AdminServer
from flowhq.admin.store import PostgresStore
from flowhq.db import bulk
from flowhq.db.pool import Database
from flowhq.errors import MisconfiguredError, StoreUnavailableError
from flowhq.model import TenantId, TenantSnapshot
from tests.fakes.admin import FakeFleet
from tests.fakes.clock import PATIENCE_S, until
from tests.integration.admin.conftest import Api
from tests.pg import execute

NOBODY = "5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a"


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


async def create_some(api: Api, count: int) -> list[str]:
    return [await api.create(f"+25571234{n:04}", name=f"Duka {n}") for n in range(count)]


async def begin(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/admin/bulk", json=body)
    assert answer.status == 202, answer.body
    assert answer.headers["Location"] == f"/admin/bulk/{answer.body['id']}"
    return dict(answer.body)


async def becomes(api: Api, run: dict[str, Any], is_it: Callable[[dict[str, Any]], bool]) -> Any:
    """The run as the API tells it, as soon as it is so."""

    async def look() -> Any:
        seen = (await api.call("GET", f"/admin/bulk/{run['id']}")).body
        return seen if is_it(seen) else None

    return await until(look)


async def ended(api: Api, run: dict[str, Any]) -> Any:
    return await becomes(api, run, lambda seen: bool(seen["state"] == "ended"))


def outcomes(run: dict[str, Any]) -> dict[str, str]:
    return {item["tenant_id"]: item["outcome"] for item in run["items"]}


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "pause", "resume"])
async def test_a_verb_goes_to_each_of_the_tenants(api: Api, fleet: FakeFleet, verb: str) -> None:
    ids = await create_some(api, 3)
    run = await begin(api, verb=verb, tenants=ids[:2])
    assert (run["state"], run["outcomes"], run["tenants"]) == ("running", {"waiting": 2}, 2)
    done = await ended(api, run)
    assert outcomes(done) == dict.fromkeys(ids[:2], "done")
    assert done["outcomes"] == {"done": 2}
    assert done["ended_at"] is not None
    assert sorted(fleet.calls) == sorted((verb, TenantId(UUID(each))) for each in ids[:2])


async def test_a_filter_chooses_and_an_empty_one_is_everybody(api: Api, fleet: FakeFleet) -> None:
    ids = await create_some(api, 3)
    one = await ended(api, await begin(api, verb="stop", filter={"q": "duka 1"}))
    assert outcomes(one) == {ids[1]: "done"}
    some = await begin(api, verb="stop", filter={"status": "NEW", "template_type": "BOOKING"})
    assert sorted(outcomes(await ended(api, some))) == sorted(ids)
    everybody = await ended(api, await begin(api, verb="stop", filter={}))
    assert sorted(outcomes(everybody)) == sorted(ids)
    nobody = await ended(api, await begin(api, verb="stop", filter={"status": "ACTIVE"}))
    assert (nobody["tenants"], nobody["items"]) == (0, [])


async def test_a_dry_run_tells_and_does_nothing(api: Api, fleet: FakeFleet) -> None:
    ids = await create_some(api, 2)
    await api.call("POST", f"/admin/tenants/{ids[0]}/worker/start")
    before = list(fleet.calls)
    for verb, first, second in (
        ("start", "would_change_nothing", "would_be_done"),
        ("stop", "would_be_done", "would_change_nothing"),
        ("restart", "would_be_done", "would_be_done"),
        ("pause", "would_be_done", "would_be_done"),
        ("resume", "would_change_nothing", "would_change_nothing"),
    ):
        run = await ended(api, await begin(api, verb=verb, tenants=ids, dry_run=True))
        assert (verb, outcomes(run)) == (verb, {ids[0]: first, ids[1]: second})
    assert fleet.calls == before


class MixedFleet(FakeFleet):
    """Fails in every way, by tenant; tells how many verbs ran at once at most."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[TenantId, BaseException] = {}
        self.at_once = self.most = 0
        self.go = asyncio.Event()
        self.go.set()

    async def restart(self, tenant_id: TenantId) -> TenantSnapshot:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.go.wait()
            await asyncio.sleep(0)
            if tenant_id in self.errors:
                raise self.errors[tenant_id]
            return await super().restart(tenant_id)
        finally:
            self.at_once -= 1


class TestWithAFleetThatFails:
    @pytest.fixture
    def fleet(self) -> MixedFleet:
        return MixedFleet()

    async def test_one_failure_touches_no_other(self, api: Api, fleet: MixedFleet) -> None:
        ids = await create_some(api, 5)
        fleet.errors = {
            TenantId(UUID(ids[0])): MisconfiguredError("No Chromium.", next_step="Install it."),
            TenantId(UUID(ids[1])): StoreUnavailableError("The database is away."),
            TenantId(UUID(ids[2])): ZeroDivisionError("a secret"),
        }
        run = await begin(api, verb="restart", tenants=ids)
        done = await ended(api, run)
        assert outcomes(done) == dict(
            zip(ids, ["refused", "failed", "unknown", "done", "done"], strict=True)
        )
        refused, failed, unknown = done["items"][:3]
        assert (refused["problem"], refused["detail"]) == ("misconfigured", "No Chromium.")
        assert refused["next_step"] == "Install it."
        assert failed["problem"] == "unavailable"
        assert "secret" not in str(unknown)

    async def test_only_some_are_under_way_at_once(self, api: Api, fleet: MixedFleet) -> None:
        ids = await create_some(api, AT_ONCE + 4)
        fleet.go.clear()
        run = await begin(api, verb="restart", tenants=ids)
        seen = await becomes(api, run, lambda now: bool(now["outcomes"].get("running") == AT_ONCE))
        assert seen["outcomes"] == {"running": AT_ONCE, "waiting": 4}
        await until(lambda: fleet.at_once == AT_ONCE, "all of them at their verb")
        fleet.go.set()
        assert (await ended(api, run))["outcomes"] == {"done": len(ids)}
        assert fleet.most == AT_ONCE

    async def test_only_some_runs_are_in_progress(self, api: Api, fleet: MixedFleet) -> None:
        (tenant_id,) = await create_some(api, 1)
        fleet.go.clear()
        runs = [await begin(api, verb="restart", tenants=[tenant_id]) for _ in range(RUNS_MAX)]
        more = await api.call(
            "POST", "/admin/bulk", json={"verb": "restart", "tenants": [tenant_id]}
        )
        assert (more.status, more.kind) == (409, "wrong-state")
        fleet.go.set()
        for run in runs:
            await ended(api, run)

    async def test_a_stop_of_the_daemon_cuts_a_run_off_and_its_results_say_so(
        self, api: Api, fleet: MixedFleet, server: AdminServer, store: Store
    ) -> None:
        ids = await create_some(api, AT_ONCE + 2)
        fleet.go.clear()
        run = await begin(api, verb="restart", tenants=ids)
        await becomes(api, run, lambda seen: bool(seen["outcomes"].get("running") == AT_ONCE))
        server.tell_stopping()
        fleet.go.set()
        await becomes(api, run, lambda seen: bool(seen["state"] == "interrupted"))
        seen = (await api.call("GET", f"/admin/bulk/{run['id']}")).body
        assert seen["outcomes"] == {"done": AT_ONCE, "not_started": 2}
        assert seen["ended_at"] is None
        assert len(fleet.calls) == AT_ONCE


async def test_what_a_killed_daemon_was_at_is_unknown(
    api: Api, database: Database, fleet: FakeFleet
) -> None:
    ids = await create_some(api, 3)
    tenants = [TenantId(UUID(each)) for each in ids]
    run = await bulk.create_run(database, "admin", "stop", tenants, dry_run=False)
    await bulk.begin_item(database, run.run_id, tenants[0])
    await bulk.end_item(database, run.run_id, bulk.BulkItem(tenants[0], bulk.Outcome.DONE))
    await bulk.begin_item(database, run.run_id, tenants[1])
    seen = (await api.call("GET", f"/admin/bulk/{run.run_id}")).body
    assert seen["state"] == "interrupted"
    assert outcomes(seen) == dict(zip(ids, ["done", "unknown", "not_started"], strict=True))
    assert fleet.calls == []


async def test_a_tenant_deleted_meanwhile_is_gone(api: Api) -> None:
    ids = await create_some(api, 2)
    run = await ended(api, await begin(api, verb="stop", tenants=ids))
    await api.call("DELETE", f"/admin/tenants/{ids[0]}")
    seen = (await api.call("GET", f"/admin/bulk/{run['id']}")).body
    assert outcomes(seen) == {ids[0]: "gone", ids[1]: "done"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"verb": "start"}, "tenants"),
        ({"verb": "start", "tenants": [NOBODY], "filter": {}}, "tenants"),
        ({"verb": "start", "tenants": []}, "tenants"),
        ({"verb": "start", "tenants": [NOBODY]}, "tenants"),
        ({"verb": "start", "tenants": ["x"]}, "tenants[0]"),
        ({"verb": "start", "tenants": [7]}, "tenants[0]"),
        ({"verb": "start", "tenants": NOBODY}, "tenants"),
        ({"verb": "start", "tenants": [NOBODY] * 1001}, "tenants"),
        ({"verb": "delete", "filter": {}}, "verb"),
        ({"filter": {}}, "verb"),
        ({"verb": "start", "filter": {"status": "up"}}, "filter.status"),
        ({"verb": "start", "filter": {"statu": "NEW"}}, "filter.statu"),
        ({"verb": "start", "filter": {}, "dry_run": "yes"}, "dry_run"),
    ],
)
async def test_a_bad_selection_is_refused(
    api: Api, fleet: FakeFleet, body: dict[str, Any], field: str
) -> None:
    answer = await api.call("POST", "/admin/bulk", json=body)
    assert (answer.status, answer.fields) == (400, [field])
    assert fleet.calls == []


async def test_an_unknown_run_is_told(api: Api) -> None:
    for run in (NOBODY, "x"):
        answer = await api.call("GET", f"/admin/bulk/{run}")
        assert (answer.status, answer.kind) == (404, "not-found")


async def test_old_runs_are_let_go(api: Api, database: Database, postgres_url: str) -> None:
    run = await ended(api, await begin(api, verb="stop", tenants=await create_some(api, 1)))
    await bulk.drop_old_runs(database)
    assert (await api.call("GET", f"/admin/bulk/{run['id']}")).status == 200
    await execute(postgres_url, "UPDATE bulk_runs SET created_at = now() - interval '31 days'")
    await bulk.drop_old_runs(database)
    assert (await api.call("GET", f"/admin/bulk/{run['id']}")).status == 404
