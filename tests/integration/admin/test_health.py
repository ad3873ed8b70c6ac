"""Health: a word for anybody, figures for the operator; the server's opening and closing."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from flowhq.admin import disks
from flowhq.admin.server import AdminServer
from flowhq.db.days import Day
from flowhq.db.sweeps import Keeping, SweepRun, SweepState
from flowhq.errors import (
    MisconfiguredError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from tests.fakes.admin import FakeFleet, FakeStore
from tests.integration.admin.conftest import Api, QuickClock


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
async def test_anybody_is_told_one_word(api: Api, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(api.base + path) as response:
        assert (response.status, await response.json()) == (200, {"status": "ok"})
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("failure", [StoreUnavailableError("gone"), StoreRefusedError("no")])
async def test_without_the_database_the_daemon_lives_but_is_not_ready(
    api: Api, store: FakeStore, failure: StoreError
) -> None:
    store.failure = failure
    for path in ("/health", "/health/ready"):
        answer = await api.call("GET", path)
        assert (answer.status, answer.body) == (503, {"status": "unavailable"})
    assert (await api.call("GET", "/health/live")).status == 200
    details = (await api.call("GET", "/health/details")).body
    assert details["database"] == {"reachable": False, "answer_ms": None}


async def test_details_tell_version_uptime_database_and_tenants(api: Api) -> None:
    details = (await api.call("GET", "/health/details")).body
    assert (details["status"], details["version"]) == ("ok", "0.0.test")
    assert details["uptime_s"] >= 0
    assert details["database"]["reachable"] is True
    assert details["tenants"] == {"tenants": 0}
    assert set(details["loop"]) == {"p50_ms", "p99_ms", "max_ms"}


async def test_a_taken_port_is_a_sentence(server: AdminServer) -> None:
    second = AdminServer(aiohttp.web.Application(), "127.0.0.1", server.port)
    with pytest.raises(MisconfiguredError, match=f"Port {server.port} .* is taken"):
        await second.open()


async def test_an_address_of_another_machine_is_a_sentence() -> None:
    server = AdminServer(aiohttp.web.Application(), "192.0.2.1", 0)
    with pytest.raises(MisconfiguredError, match=r"cannot listen on 192\.0\.2\.1"):
        await server.open()


async def test_closing_twice_is_harmless(server: AdminServer) -> None:
    await server.close()
    await server.close()


async def test_details_have_the_disks_and_nothing_to_warn_of(
    deps_folders: dict[str, Path], api: Api, store: FakeStore, tmp_path: Path, noon: datetime
) -> None:
    deps_folders["[web] profiles_dir"] = tmp_path / "not" / "there" / "yet"
    store.keeping = Keeping(SweepState(), None, days_ahead(noon, 14))
    details = (await api.call("GET", "/health/details")).body
    [disk] = details["disks"]
    assert disk["setting"] == "[web] profiles_dir"
    assert 0 < disk["free_bytes"] <= disk["total_bytes"]
    assert (details["days_ahead"], details["sweep"]) == (14, None)
    assert [warning for warning in details["warnings"] if "disk" not in warning] == []


async def test_a_disk_that_is_nearly_full_is_warned_of(
    deps_folders: dict[str, Path], api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps_folders["[logging] directory"] = tmp_path
    monkeypatch.setattr(disks, "FREE_MIN_SHARE", 2.0)
    details = (await api.call("GET", "/health/details")).body
    assert "The disk of [logging] directory is nearly full." in details["warnings"]


async def test_what_went_wrong_with_old_things_is_warned_of(
    api: Api, store: FakeStore, noon: datetime
) -> None:
    failed = SweepRun(noon, noon, "failed", "The disk is full.", {"texts": 3})
    store.keeping = Keeping(
        SweepState(held_since=noon, held_why="The clock jumped."), failed, days_ahead(noon, 2)
    )
    details = (await api.call("GET", "/health/details")).body
    assert details["warnings"] == [
        "The days of the ledger are not made ahead.",
        "Nothing old is deleted. The clock jumped.",
        "The last daily sweep failed.",
    ]
    assert details["sweep"]["figures"] == {"texts": 3}


async def test_tenants_in_error_are_warned_of_and_the_others_are_not(
    api: Api, store: FakeStore, fleet: FakeFleet, noon: datetime
) -> None:
    store.keeping = Keeping(SweepState(), None, days_ahead(noon, 14))
    fleet.observe(observed(TenantStatus.ACTIVE, Reason.CONNECTED))
    assert (await api.call("GET", "/health/details")).body["warnings"] == []
    fleet.observe(observed(TenantStatus.ERROR, Reason.CRASH_LOOP))
    fleet.observe(observed(TenantStatus.ERROR, Reason.CONFLICT))
    assert (await api.call("GET", "/health/details")).body["warnings"] == ["Tenants in ERROR: 2."]


async def test_an_incident_is_warned_of_while_there_is_no_database(
    api: Api, store: FakeStore, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def health() -> Mapping[str, object]:
        incident = {"since": "2026-11-21T08:00:00+00:00", "tenants": 12, "reason": "PAGE_HUNG"}
        return {"tenants": 30, "incident": incident}

    monkeypatch.setattr(fleet, "health", health)
    store.failure = StoreUnavailableError("gone")
    assert (await api.call("GET", "/health/details")).body["warnings"] == [
        "12 tenants failed at once, most often with PAGE_HUNG.",
        "The database does not answer.",
    ]


def observed(status: TenantStatus, reason: Reason) -> TenantSnapshot:
    return TenantSnapshot(
        tenant_id=TenantId(uuid4()),
        status=status,
        session=SessionState.DISCONNECTED,
        worker=WorkerStatus.RUNNING,
        desired=DesiredState.RUNNING,
        reason=reason,
        next_action="",
    )


@pytest.fixture
def noon(clock: QuickClock, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """It is noon, and stays so: no day ends between what a test stores and what it is told."""
    noon = datetime.now(UTC).replace(hour=12)
    monkeypatch.setattr(clock, "now", lambda: noon)
    return noon


def days_ahead(now: datetime, number: int) -> tuple[Day, ...]:
    return tuple(
        Day(f"message_logs_{n}", now.date() + timedelta(days=n), True, 0, 8192)
        for n in range(number + 1)
    )
