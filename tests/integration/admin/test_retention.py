"""What is kept: the operator's view of it, and days of a tenant's own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowhq.admin.store import PostgresStore
from flowhq.db.days import Day
from flowhq.db.pool import Database
from flowhq.db.sweeps import Keeping, SweepRun, SweepState
from tests.fakes.admin import FakeStore
from tests.integration.admin.conftest import Api, QuickClock

NONE_OF_ITS_OWN = {"text_days": None, "metadata_days": None, "payload_days": None}


async def test_the_last_sweep_the_next_one_and_the_sizes_are_told(
    api: Api, store: FakeStore, clock: QuickClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Noon, so that no day ends meanwhile.
    now = datetime.now(UTC).replace(hour=12)
    monkeypatch.setattr(clock, "now", lambda: now)
    today = now.date()
    store.keeping = Keeping(
        SweepState(next_at=now + timedelta(hours=3)),
        SweepRun(now - timedelta(hours=21), now - timedelta(hours=20), "done", "", {"days": 1}),
        (
            Day("message_logs_1", today - timedelta(days=300), True, 5, 100),
            Day("message_logs_2", today, True, 5, 20),
            Day("message_logs_3", today + timedelta(days=1), True, 0, 8),
            Day("message_logs_0", today - timedelta(days=500), False, 0, 1000),
        ),
        {"inbox": 7},
    )
    told = (await api.call("GET", "/admin/retention")).body
    assert (told["state"], told["last"]["outcome"], told["last"]["figures"]) == (
        "ok",
        "done",
        {"days": 1},
    )
    assert told["days"] == {
        "first": (today - timedelta(days=300)).isoformat(),
        "last": (today + timedelta(days=1)).isoformat(),
        "count": 3,
        "ahead": 1,
    }
    assert told["sizes"] == {"message_logs": 1128, "inbox": 7}
    assert told["terms"] == {
        "text_days": 90,
        "metadata_days": 400,
        "payload_days": 7,
        "audit_days": 400,
        "archive": False,
    }


async def test_that_nothing_is_deleted_is_told_with_the_reason(api: Api, store: FakeStore) -> None:
    now = datetime.now(UTC)
    store.keeping = Keeping(SweepState(held_since=now, held_why="The clock jumped."), None, ())
    told = (await api.call("GET", "/admin/retention")).body
    assert (told["state"], told["held_why"], told["last"]) == ("held", "The clock jumped.", None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text_days", 0),
        ("metadata_days", 29),
        ("payload_days", 3651),
        ("text_days", "90"),
        ("days", 1),
    ],
)
async def test_days_that_make_no_sense_are_refused(api: Api, field: str, value: Any) -> None:
    tenant = await api.create()
    answer = await api.call("PATCH", f"/admin/tenants/{tenant}", json={"retention": {field: value}})
    assert (answer.status, answer.fields) == (400, [f"retention.{field}"])


class TestOnPostgres:
    """The same on what is really stored."""

    @pytest.fixture
    def store(self, database: Database) -> PostgresStore:
        return PostgresStore(database)

    async def test_a_tenant_may_have_days_of_its_own_and_give_them_up(self, api: Api) -> None:
        tenant = await api.create(retention={"text_days": 10})
        path = f"/admin/tenants/{tenant}"
        shown = (await api.call("GET", path)).body["config"]["retention"]
        assert shown == NONE_OF_ITS_OWN | {"text_days": 10}
        changed = await api.call("PATCH", path, json={"retention": {"metadata_days": 60}})
        assert changed.body["config"]["retention"] == NONE_OF_ITS_OWN | {"metadata_days": 60}
        [listed] = (await api.call("GET", "/admin/tenants")).body["items"]
        assert listed["config"]["retention"] == NONE_OF_ITS_OWN | {"metadata_days": 60}
        await api.call("PATCH", path, json={"name": "Duka"})
        untouched = (await api.call("GET", path)).body["config"]["retention"]
        assert untouched["metadata_days"] == 60
        ended = await api.call("PATCH", path, json={"retention": {"metadata_days": None}})
        assert ended.body["config"]["retention"] == NONE_OF_ITS_OWN

    async def test_a_new_installation_has_its_days_and_no_sweep_yet(
        self, api: Api, clock: QuickClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        days = (await api.call("GET", "/admin/retention")).body["days"]
        # As on the day on which it was made, whatever day it is by now.
        made_at = datetime.fromisoformat(f"{days['first']}T12:00:00+00:00")
        monkeypatch.setattr(clock, "now", lambda: made_at)
        told = (await api.call("GET", "/admin/retention")).body
        assert (told["state"], told["last"], told["next_at"]) == ("ok", None, None)
        assert (told["days"]["count"], told["days"]["ahead"]) == (15, 14)
        assert datetime.now(UTC) - made_at < timedelta(days=2)
        assert told["sizes"]["message_logs"] > 0
