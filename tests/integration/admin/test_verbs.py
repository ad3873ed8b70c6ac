"""The verbs reach the fleet once each; refusals and outages become answers with a next step."""

from typing import Any

import pytest
import structlog

from flowhq.errors import (
    ChannelRestartError,
    FlowHQError,
    MisconfiguredError,
    NotFoundError,
    StoreUnavailableError,
    StoreUnusableError,
    WrongStateError,
)
from tests.fakes.admin import FakeAudit, FakeFleet, FakeStore
from tests.integration.admin.conftest import Api

VERBS = [
    ("worker/start", "start"),
    ("worker/stop", "stop"),
    ("worker/restart", "restart"),
    ("worker/force-restart", "force_restart"),
    ("pause", "pause"),
    ("resume", "resume"),
    ("session/logout", "log_out"),
]


@pytest.mark.parametrize(("path", "verb"), VERBS)
async def test_a_verb_is_carried_out_and_its_outcome_told(
    api: Api, fleet: FakeFleet, path: str, verb: str
) -> None:
    tenant_id = await api.create()
    answer = await api.call("POST", f"/admin/tenants/{tenant_id}/{path}")
    assert answer.status == 200
    assert [(name, str(tenant)) for name, tenant in fleet.calls] == [(verb, tenant_id)]
    assert answer.body["tenant_id"] == tenant_id
    assert answer.body["worker_status"] in ("RUNNING", "STOPPED")
    assert answer.body["next_action"]


async def test_starting_what_runs_is_refused_with_a_hint(api: Api) -> None:
    path = f"/admin/tenants/{await api.create()}/worker/start"
    assert (await api.call("POST", path)).status == 200
    answer = await api.call("POST", path)
    assert (answer.status, answer.kind) == (409, "wrong-state")
    assert "restart" in answer.body["next_step"]


REFUSALS: list[tuple[FlowHQError, int, str, str]] = [
    (WrongStateError("Not now.", next_step="Later."), 409, "wrong-state", "Later."),
    (NotFoundError("No tenant."), 404, "not-found", ""),
    (MisconfiguredError("No Chromium.", next_step="Install."), 503, "misconfigured", "Install."),
    (StoreUnavailableError("secret dsn"), 503, "unavailable", "Try again soon"),
    (StoreUnusableError("secret dsn"), 503, "unavailable", "Try again soon"),
    (ChannelRestartError("inner words", reason="X"), 500, "internal", ""),
]


@pytest.mark.parametrize(("refusal", "status", "kind", "next_step"), REFUSALS)
async def test_each_refusal_has_its_status(
    api: Api, fleet: FakeFleet, refusal: FlowHQError, status: int, kind: str, next_step: str
) -> None:
    fleet.refusal = refusal
    answer = await api.call("POST", f"/admin/tenants/{await api.create()}/worker/start")
    assert (answer.status, answer.kind) == (status, kind)
    assert next_step in answer.body["next_step"]
    assert b"secret dsn" not in answer.raw
    assert b"inner words" not in answer.raw


async def test_an_unexpected_error_is_logged_with_the_id_and_told_without_details(
    api: Api, store: FakeStore
) -> None:
    store.failure = ZeroDivisionError("the inner secret")
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logged:
        answer = await api.call("GET", "/admin/tenants")
    assert (answer.status, answer.kind) == (500, "internal")
    assert b"inner secret" not in answer.raw
    failures: list[Any] = [entry for entry in logged if entry["log_level"] == "error"]
    assert [entry["request_id"] for entry in failures] == [answer.body["request_id"]]


async def test_an_outage_of_the_database_is_told_everywhere(api: Api, store: FakeStore) -> None:
    tenant_id = await api.create()
    store.failure = StoreUnavailableError("gone")
    for path in ("", f"/{tenant_id}", f"/{tenant_id}/qr", f"/{tenant_id}/logs"):
        answer = await api.call("GET", f"/admin/tenants{path}")
        assert (answer.status, answer.kind) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0


async def test_the_audit_tells_what_a_verb_changed(
    api: Api, fleet: FakeFleet, audit: FakeAudit
) -> None:
    path = f"/admin/tenants/{await api.create()}"
    assert (await api.call("POST", f"{path}/worker/start")).status == 200
    audit.entries.clear()
    assert (await api.call("POST", f"{path}/pause")).status == 200
    (row,) = audit.entries.values()
    assert [(change.field, change.before, change.after) for change in row.changes] == [
        ("paused", False, True)
    ]


async def test_a_condition_is_not_ignored_where_nothing_has_a_version(
    api: Api, fleet: FakeFleet
) -> None:
    path = f"/admin/tenants/{await api.create()}/pause"
    answer = await api.call("POST", path, headers={"If-Match": '"a.b"'})
    assert (answer.status, answer.kind, answer.fields) == (400, "invalid-input", ["If-Match"])
    assert fleet.calls == []
