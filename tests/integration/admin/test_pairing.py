"""The code to scan: in three forms, waited for, and never one that is no longer on show."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from flowhq.admin import pairing
from flowhq.admin.server import AdminServer
from flowhq.db.sessions import SessionRow
from flowhq.model import SessionState, TenantId
from tests.fakes.admin import FakeFleet, FakeStore, session_row
from tests.fakes.clock import PATIENCE_S, until
from tests.integration.admin.conftest import Api

CODE = "2@abc,def,ghi,jkl,0"


def shown(expires_in_s: float = 600) -> SessionRow:
    expires_at = datetime.now(UTC) + timedelta(seconds=expires_in_s)
    return session_row(SessionState.QR_READY, CODE, expires_at)


async def _started(api: Api) -> tuple[TenantId, str]:
    tenant_id = await api.create()
    await api.call("POST", f"/admin/tenants/{tenant_id}/worker/start")
    return TenantId(UUID(tenant_id)), f"/admin/tenants/{tenant_id}/qr"


async def test_the_code_comes_as_json_picture_and_text(api: Api, store: FakeStore) -> None:
    tenant_id, path = await _started(api)
    store.sessions[tenant_id] = shown()
    answer = (await api.call("GET", path)).body
    assert answer["state"] == "QR_READY"
    assert answer["qr"] == store.sessions[tenant_id].last_qr
    assert answer["expires_at"]
    assert (answer["reason"], answer["next_action"]) == ("STARTING", "Wait.")
    for picture in (
        await api.call("GET", path, headers={"Accept": "image/png"}),
        await api.call("GET", path + "?format=png"),
    ):
        assert picture.headers["Content-Type"] == "image/png"
        assert picture.headers["Cache-Control"] == "no-store"
        assert picture.raw == base64.b64decode(answer["qr"].partition(",")[2])
    raw = await api.call("GET", path + "?format=raw")
    assert (raw.headers["Content-Type"], raw.raw.decode()) == ("text/plain; charset=utf-8", CODE)


@pytest.mark.parametrize("accept", ["*/*", "application/json, image/png", "text/html, */*;q=0.1"])
async def test_json_is_given_unless_a_picture_alone_is_asked_for(
    api: Api, store: FakeStore, accept: str
) -> None:
    tenant_id, path = await _started(api)
    store.sessions[tenant_id] = shown()
    answer = await api.call("GET", path, headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("query", ["?format=png", "?format=raw"])
async def test_what_does_not_exist_is_refused_with_the_next_step(api: Api, query: str) -> None:
    _, path = await _started(api)
    answer = await api.call("GET", path + query)
    assert (answer.status, answer.kind) == (409, "wrong-state")
    assert answer.body["next_step"] == "Wait."
    assert "DISCONNECTED" in answer.body["detail"]


async def test_a_tenant_never_started_says_what_to_do(api: Api) -> None:
    answer = (await api.call("GET", f"/admin/tenants/{await api.create()}/qr")).body
    assert (answer["state"], answer["qr"], answer["reason"]) == (
        "DISCONNECTED",
        None,
        "NOT_STARTED",
    )
    assert "Start" in answer["next_action"]


async def test_a_code_that_ran_out_is_not_shown(api: Api, store: FakeStore) -> None:
    tenant_id, path = await _started(api)
    store.sessions[tenant_id] = shown(expires_in_s=-60)
    assert (await api.call("GET", path)).body["qr"] is None


@pytest.mark.parametrize("state", [SessionState.QR_READY, SessionState.CONNECTED])
async def test_a_change_ends_the_waiting_at_once(
    api: Api,
    store: FakeStore,
    fleet: FakeFleet,
    state: SessionState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairing, "LOOK_AGAIN_S", 60)
    tenant_id, path = await _started(api)
    waiting = asyncio.create_task(api.call("GET", path + "?wait=60"))
    await until(lambda: fleet.waiting)
    assert not waiting.done()
    store.sessions[tenant_id] = (
        shown() if state is SessionState.QR_READY else session_row(SessionState.CONNECTED)
    )
    fleet.observe(fleet.seen[tenant_id])
    async with asyncio.timeout(PATIENCE_S):
        answer = await waiting
    assert answer.body["state"] == state


async def test_a_code_that_comes_without_a_new_state_is_found_too(
    api: Api, store: FakeStore, fleet: FakeFleet
) -> None:
    tenant_id, path = await _started(api)
    waiting = asyncio.create_task(api.call("GET", path + "?wait=60&format=raw"))
    await until(lambda: fleet.waiting)
    store.sessions[tenant_id] = shown()
    async with asyncio.timeout(PATIENCE_S):
        assert (await waiting).raw.decode() == CODE


async def test_waiting_in_vain_ends_in_time(api: Api) -> None:
    _, path = await _started(api)
    async with asyncio.timeout(PATIENCE_S):
        answer = await api.call("GET", path + "?wait=0.3")
    assert (answer.status, answer.body["qr"]) == (200, None)


async def test_deleting_a_tenant_ends_the_waiting(
    api: Api, store: FakeStore, fleet: FakeFleet
) -> None:
    tenant_id, path = await _started(api)
    waiting = asyncio.create_task(api.call("GET", path + "?wait=60"))
    await until(lambda: fleet.waiting)
    await api.call("DELETE", f"/admin/tenants/{tenant_id}")
    async with asyncio.timeout(PATIENCE_S):
        assert (await waiting).status == 404


async def test_closing_the_server_answers_those_who_wait(
    api: Api, server: AdminServer, fleet: FakeFleet
) -> None:
    _, path = await _started(api)
    waiting = asyncio.create_task(api.call("GET", path + "?wait=60"))
    await until(lambda: fleet.waiting)
    async with asyncio.timeout(PATIENCE_S):
        await server.close()
        answer = await waiting
    assert (answer.status, answer.body["qr"]) == (200, None)
