"""The route that takes a backup: what it is given, what it tells, and what it never tells."""

from typing import Any
from uuid import uuid4

import pytest

from flowhq.errors import BackupError, FlowHQError, WrongStateError
from tests.fakes.admin import FakeBackups, FakeFleet
from tests.integration.admin.conftest import Api

PASSPHRASE = "ndege wawili mtini"


async def test_a_backup_is_taken_while_the_tenant_rests(
    api: Api, fleet: FakeFleet, backups: FakeBackups
) -> None:
    tenant_id = await api.create()
    path = f"/admin/tenants/{tenant_id}/backup"
    answer = await api.call("POST", path, json={"passphrase": PASSPHRASE})
    assert answer.status == 201
    assert answer.body["file"] == f"backups/{tenant_id}"
    assert (answer.body["rows"], answer.body["profile_files"]) == ({"tenants": 1}, 2)
    assert [(name, str(tenant)) for name, tenant in fleet.calls] == [("rest", tenant_id)]
    assert backups.locked_with == [PASSPHRASE]
    assert PASSPHRASE.encode() not in answer.raw


@pytest.mark.parametrize(
    "body", [{}, {"passphrase": "short"}, {"passphrase": 7}, {"passphrase": "x" * 1001}]
)
async def test_a_passphrase_that_will_not_do_is_refused_without_being_told_back(
    api: Api, body: dict[str, Any]
) -> None:
    path = f"/admin/tenants/{await api.create()}/backup"
    answer = await api.call("POST", path, json=body)
    assert (answer.status, answer.fields) == (400, ["passphrase"])
    assert b"short" not in answer.raw


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (WrongStateError("Another backup is being taken."), 409, "wrong-state"),
        (BackupError("No room.", next_step="Make some."), 503, "misconfigured"),
    ],
)
async def test_what_goes_wrong_is_told(
    api: Api, backups: FakeBackups, refusal: FlowHQError, status: int, kind: str
) -> None:
    backups.refusal = refusal
    path = f"/admin/tenants/{uuid4()}/backup"
    answer = await api.call("POST", path, json={"passphrase": PASSPHRASE})
    assert (answer.status, answer.kind) == (status, kind)
    assert answer.body["detail"] == refusal.message
