"""A book of states in memory, with outages to switch on."""

from flowhq.model import (
    TenantId,
    TenantSnapshot,
)
from tests.fakes.outages import Outages


class FakeStatusBook:
    """Keeps what was saved, in order; ``history`` has only what changed status or reason."""

    def __init__(self) -> None:
        self.outages = Outages()
        self.saved: list[tuple[TenantSnapshot, str, str]] = []
        self.history: list[tuple[TenantSnapshot, str, str]] = []

    async def save(self, snapshot: TenantSnapshot, *, event: str, actor: str) -> None:
        await self.outages.enter("save")
        before = self.latest(snapshot.tenant_id)
        if before is None or (before.status, before.reason) != (snapshot.status, snapshot.reason):
            self.history.append((snapshot, event, actor))
        self.saved.append((snapshot, event, actor))
        await self.outages.leave("save")

    def latest(self, tenant_id: TenantId) -> TenantSnapshot | None:
        return next((one for one, _, _ in reversed(self.saved) if one.tenant_id == tenant_id), None)
