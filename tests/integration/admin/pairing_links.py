"""A pairing link, its page's requests, and the tenant behind it, for tests."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flowhq.db.pool import Database
from flowhq.db.sessions import save_qr
from flowhq.db.states import PostgresStatusBook
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.qr import png_data_url
from tests.fakes.admin import FakeFleet
from tests.integration.admin.conftest import Answer, Api


@dataclass(frozen=True)
class Pairing:
    """A tenant whose phone is to be linked."""

    api: Api
    database: Database
    fleet: FakeFleet
    tenant_id: TenantId

    @property
    def path(self) -> str:
        return f"/admin/tenants/{self.tenant_id}/pairing-links"

    async def make_link(self, **body: Any) -> Any:
        answer = await self.api.call("POST", self.path, json=body)
        assert answer.status == 201, answer.body
        return answer.body

    async def ask(self, token: str, path: str = "/pair/code") -> Answer:
        """As the page does: without any credential."""
        headers = {"Authorization": ""}
        return await self.api.call("POST", path, json={"token": token}, headers=headers)

    async def show(self, code: str) -> None:
        """A code comes on show."""
        await self.become(SessionState.QR_READY, Reason.SCAN_QR)
        soon = datetime.now(UTC) + timedelta(minutes=10)
        async with self.database.tenant(self.tenant_id) as tx:
            await save_qr(tx, self.tenant_id, code, png_data_url(code), soon)

    async def become(
        self,
        session: SessionState,
        reason: Reason,
        worker: WorkerStatus = WorkerStatus.RUNNING,
    ) -> None:
        """The tenant's state changes, in the database and in the fleet."""
        snapshot = replace(self.snapshot, session=session, reason=reason, worker=worker)
        await PostgresStatusBook(self.database).save(snapshot, event="x", actor="channel")
        self.fleet.observe(snapshot)

    @property
    def snapshot(self) -> TenantSnapshot:
        return TenantSnapshot(
            tenant_id=self.tenant_id,
            status=TenantStatus.QR_PENDING,
            session=SessionState.DISCONNECTED,
            worker=WorkerStatus.RUNNING,
            desired=DesiredState.RUNNING,
            reason=Reason.STARTING,
            next_action="",
        )


async def open_pairing(
    api: Api, database: Database, fleet: FakeFleet, phone: str = "+255712345678"
) -> Pairing:
    tenant_id = await api.create(phone, name="Duka la Asha")
    return Pairing(api, database, fleet, TenantId(UUID(tenant_id)))


def token_of(link: Any) -> str:
    return str(link["url"].partition("#")[2])
