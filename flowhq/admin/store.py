"""The API's store on PostgreSQL: the database's functions, gathered under one object."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from flowhq.db import (
    accounting,
    audit,
    bulk,
    chats,
    contacts,
    deadletters,
    figures,
    keys,
    logs,
    portable,
    sessions,
    states,
    stories,
    sweeps,
    tenantlists,
    tenants,
)
from flowhq.db.pool import Database
from flowhq.figures import PoolFigures
from flowhq.model import ChatKey, TenantId


class PostgresStore:
    """`ports.Store` on an open database, which it does not own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        await self._database.ping()

    async def create_tenant(self, new: tenants.NewTenant) -> tenants.TenantRow:
        return await tenants.create_tenant(self._database, new)

    async def fetch_tenant(self, tenant_id: TenantId) -> tenants.TenantRow:
        return await tenants.fetch_tenant(self._database, tenant_id)

    async def list_tenants(
        self, chosen: tenantlists.TenantFilter, *, limit: int, after: str | None
    ) -> tenantlists.TenantPage:
        return await tenantlists.list_tenants(self._database, chosen, limit=limit, after=after)

    async def update_tenant(
        self, tenant_id: TenantId, changes: Mapping[str, Any], *, seen: Collection[str] | None
    ) -> tenants.TenantRow:
        return await tenants.update_tenant(self._database, tenant_id, changes, seen=seen)

    async def delete_tenant(self, tenant_id: TenantId) -> None:
        await keys.forget_answers(self._database, tenant_id)
        await tenants.delete_tenant(self._database, tenant_id)

    async def fetch_session(self, tenant_id: TenantId) -> sessions.SessionRow:
        return await sessions.fetch_session(self._database, tenant_id)

    async def list_logs(
        self, tenant_id: TenantId, chosen: logs.LogFilter, *, limit: int, before: str | None
    ) -> logs.LogPage:
        await self.fetch_tenant(tenant_id)
        return await logs.fetch_logs(self._database, tenant_id, chosen, limit=limit, before=before)

    async def list_events(
        self, tenant_id: TenantId, *, limit: int, before: str | None
    ) -> states.EventPage:
        await self.fetch_tenant(tenant_id)
        return await states.fetch_events(self._database, tenant_id, limit=limit, before=before)

    async def list_chats(
        self, tenant_id: TenantId, *, silence: chats.Silence | None, limit: int, after: str | None
    ) -> chats.ChatPage:
        await self.fetch_tenant(tenant_id)
        return await chats.list_chats(
            self._database, tenant_id, silence=silence, limit=limit, after=after
        )

    async def resume_chat(self, tenant_id: TenantId, chat_id: UUID) -> chats.ChatRow:
        await self.fetch_tenant(tenant_id)
        return await chats.resume_chat(self._database, tenant_id, chat_id, actor="admin")

    async def list_dead(
        self, tenant_id: TenantId, *, limit: int, after: str | None
    ) -> deadletters.DeadPage:
        await self.fetch_tenant(tenant_id)
        return await deadletters.list_dead(self._database, tenant_id, limit=limit, after=after)

    async def fetch_story(self, tenant_id: TenantId, reference: str) -> stories.Story:
        await self.fetch_tenant(tenant_id)
        return await stories.fetch_story(self._database, tenant_id, reference)

    async def requeue(self, tenant_id: TenantId, reference: str) -> tuple[stories.Story, ChatKey]:
        await self.fetch_tenant(tenant_id)
        return await deadletters.requeue(self._database, tenant_id, reference, actor="admin")

    async def fetch_account(self, tenant_id: TenantId, since: datetime) -> accounting.Books:
        await self.fetch_tenant(tenant_id)
        return await accounting.fetch_account(self._database, tenant_id, since)

    async def fetch_accounts(self, since: datetime) -> accounting.Books:
        return await accounting.fetch_accounts(self._database, since)

    # -- operations ------------------------------------------------------------------------------

    async def take_stock(self) -> figures.Stock:
        return await figures.take_stock(self._database)

    async def fetch_keeping(self) -> sweeps.Keeping:
        return await sweeps.fetch_keeping(self._database)

    def pool(self) -> PoolFigures:
        return self._database.figures()

    # -- all that is stored -----------------------------------------------------------------------

    def read_tenant(self, tenant_id: TenantId) -> AsyncIterator[portable.ExportedRow]:
        return portable.read_tenant(self._database, tenant_id)

    def read_contact(
        self, tenant_id: TenantId, person: contacts.Person
    ) -> AsyncIterator[portable.ExportedRow]:
        return portable.read_contact(self._database, tenant_id, person)

    async def find_person(self, tenant_id: TenantId, reference: str) -> contacts.Person:
        await self.fetch_tenant(tenant_id)
        return await contacts.find_person(self._database, tenant_id, reference)

    async def erase_contact(self, tenant_id: TenantId, reference: str) -> contacts.Erased:
        await self.fetch_tenant(tenant_id)
        await keys.forget_answers(self._database, tenant_id)
        return await contacts.erase_contact(self._database, tenant_id, reference)

    async def erase_tenant(self, tenant_id: TenantId) -> Mapping[str, int]:
        async with self._database.tenant(tenant_id) as tx:
            counts = await portable.count_rows(tx, tenant_id)
        await self.delete_tenant(tenant_id)
        return counts

    # -- idempotency keys -------------------------------------------------------------------------

    async def claim_key(
        self, name: keys.KeyName, body_digest: bytes, about: TenantId | None
    ) -> keys.KnownKey | None:
        return await keys.claim_key(self._database, name, body_digest, about)

    async def settle_key(
        self, name: keys.KeyName, answer: keys.StoredAnswer, about: UUID | None
    ) -> None:
        await keys.settle_key(self._database, name, answer, about)

    async def release_key(self, name: keys.KeyName) -> None:
        await keys.release_key(self._database, name)

    # -- bulk runs --------------------------------------------------------------------------------

    async def create_run(
        self, principal: str, verb: str, tenants: Sequence[TenantId], *, dry_run: bool
    ) -> bulk.BulkRun:
        return await bulk.create_run(self._database, principal, verb, tenants, dry_run=dry_run)

    async def end_run(self, run_id: UUID) -> None:
        await bulk.end_run(self._database, run_id)

    async def begin_item(self, run_id: UUID, tenant_id: TenantId) -> None:
        await bulk.begin_item(self._database, run_id, tenant_id)

    async def end_item(self, run_id: UUID, item: bulk.BulkItem) -> None:
        await bulk.end_item(self._database, run_id, item)

    async def find_run(self, run_id: UUID) -> bulk.BulkRun | None:
        return await bulk.find_run(self._database, run_id)

    async def list_items(self, run: bulk.BulkRun, *, live: bool) -> list[bulk.BulkItem]:
        return await bulk.list_items(self._database, run, live=live)


class PostgresAudit:
    """`recording.AuditBook` on an open database, which it does not own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, entry: audit.NewEntry) -> UUID:
        return await audit.begin(self._database, entry)

    async def end(self, entry_id: UUID, *, status: int, changes: Sequence[audit.Change]) -> None:
        await audit.end(self._database, entry_id, status=status, changes=changes)

    async def write(
        self, entry: audit.NewEntry, *, status: int, changes: Sequence[audit.Change]
    ) -> None:
        await audit.write(self._database, entry, status=status, changes=changes)

    async def list_entries(
        self, wanted: audit.EntryFilter, *, limit: int, before: str | None
    ) -> audit.EntryPage:
        return await audit.list_entries(self._database, wanted, limit=limit, before=before)
