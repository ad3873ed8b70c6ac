"""A store and a fleet in memory, for tests of the API alone; and what drives the API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from flowhq.admin.portal_store import PortalStore
from flowhq.backup.taking import Taken
from flowhq.db.accounting import Account, Books
from flowhq.db.audit import Change, EntryFilter, EntryPage, EntryRow, NewEntry
from flowhq.db.bulk import BulkItem, BulkRun, Outcome
from flowhq.db.chats import ChatPage, ChatRow, Silence
from flowhq.db.contacts import Erased, Person
from flowhq.db.deadletters import DeadPage
from flowhq.db.figures import Depth, Stock, StoredState, Undelivered
from flowhq.db.keys import KeyName, KnownKey, StoredAnswer
from flowhq.db.logs import LogFilter, LogPage, LogRow
from flowhq.db.pool import Database
from flowhq.db.portable import ExportedRow
from flowhq.db.sessions import SessionRow
from flowhq.db.states import EventPage
from flowhq.db.stories import Story
from flowhq.db.sweeps import Keeping, SweepState
from flowhq.db.tenantlists import TenantFilter, TenantPage
from flowhq.db.tenants import NewTenant, TenantRow, refuse_unseen
from flowhq.errors import (
    AlreadyExistsError,
    FlowHQError,
    InvalidInputError,
    NotFoundError,
    WrongStateError,
)
from flowhq.figures import PoolFigures
from flowhq.model import (
    ChatKey,
    DesiredState,
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.qr import png_data_url

T = TypeVar("T")


class FakeStore:
    """Tenants in a dictionary; ``failure`` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.tenants: dict[TenantId, TenantRow] = {}
        self.sessions: dict[TenantId, SessionRow] = {}
        self.logs: dict[TenantId, list[LogRow]] = {}
        self.keys: dict[KeyName, KnownKey] = {}
        self.runs: dict[UUID, BulkRun] = {}
        self.items: dict[tuple[UUID, TenantId], BulkItem] = {}
        self.failure: BaseException | None = None
        self.depths: list[Depth] = []
        self.undelivered: list[Undelivered] = []
        self.stocks_taken = 0
        self.keeping = Keeping(SweepState(), None, ())

    async def ping(self) -> None:
        self._fail()

    async def create_tenant(self, new: NewTenant) -> TenantRow:
        self._fail()
        self._refuse_phone(new.phone_number, None)
        now = datetime.now(UTC)
        tenant_id = TenantId(uuid4())
        row = TenantRow(
            tenant_id=tenant_id,
            name=new.name,
            phone_number=new.phone_number,
            status=TenantStatus.NEW,
            desired=DesiredState.STOPPED,
            reason=Reason.NOT_STARTED,
            detail="",
            paused_at=None,
            template=new.template,
            business_name=new.business_name,
            language=new.language,
            timezone=new.timezone,
            hours=new.hours,
            details=new.details,
            retention=new.retention,
            session_state=SessionState.DISCONNECTED,
            last_seen_at=None,
            paired_at=None,
            worker_name=f"worker-{tenant_id}",
            worker_status=WorkerStatus.STOPPED,
            last_error=None,
            restarts=0,
            started_at=None,
            created_at=now,
            updated_at=now,
        )
        self.tenants[tenant_id] = row
        self.sessions[tenant_id] = session_row(SessionState.DISCONNECTED)
        return row

    async def fetch_tenant(self, tenant_id: TenantId) -> TenantRow:
        self._fail()
        if tenant_id not in self.tenants:
            raise NotFoundError(f"There is no tenant {tenant_id}.")
        return self.tenants[tenant_id]

    async def list_tenants(
        self, chosen: TenantFilter, *, limit: int, after: str | None
    ) -> TenantPage:
        self._fail()
        fitting = [row for row in self.tenants.values() if _is_chosen(row, chosen)]
        rows = sorted(fitting, key=lambda row: row.created_at, reverse=True)
        return TenantPage(*_page(rows, limit, after, "after"))

    async def update_tenant(
        self, tenant_id: TenantId, changes: Mapping[str, Any], *, seen: Collection[str] | None
    ) -> TenantRow:
        row = await self.fetch_tenant(tenant_id)
        refuse_unseen(row, seen)
        self._refuse_phone(changes.get("phone_number"), tenant_id)
        self.tenants[tenant_id] = replace(row, **changes)
        return self.tenants[tenant_id]

    async def delete_tenant(self, tenant_id: TenantId) -> None:
        await self.fetch_tenant(tenant_id)
        del self.tenants[tenant_id]

    async def fetch_session(self, tenant_id: TenantId) -> SessionRow:
        await self.fetch_tenant(tenant_id)
        return self.sessions[tenant_id]

    async def list_logs(
        self, tenant_id: TenantId, chosen: LogFilter, *, limit: int, before: str | None
    ) -> LogPage:
        await self.fetch_tenant(tenant_id)
        return LogPage(*_page(self.logs.get(tenant_id, [])[::-1], limit, before, "before"))

    async def list_events(
        self, tenant_id: TenantId, *, limit: int, before: str | None
    ) -> EventPage:
        await self.fetch_tenant(tenant_id)
        return EventPage(*_page([], limit, before, "before"))

    async def list_chats(
        self, tenant_id: TenantId, *, silence: Silence | None, limit: int, after: str | None
    ) -> ChatPage:
        await self.fetch_tenant(tenant_id)
        return ChatPage(*_page([], limit, after, "after"))

    async def list_dead(self, tenant_id: TenantId, *, limit: int, after: str | None) -> DeadPage:
        await self.fetch_tenant(tenant_id)
        return DeadPage(*_page([], limit, after, "after"))

    async def fetch_story(self, tenant_id: TenantId, reference: str) -> Story:
        await self.fetch_tenant(tenant_id)
        raise NotFoundError("There is no such message.")

    async def requeue(self, tenant_id: TenantId, reference: str) -> tuple[Story, ChatKey]:
        await self.fetch_tenant(tenant_id)
        raise NotFoundError("There is no such message.")

    async def fetch_account(self, tenant_id: TenantId, since: datetime) -> Books:
        await self.fetch_tenant(tenant_id)
        return Books(since, datetime.now(UTC), {tenant_id: Account()})

    async def fetch_accounts(self, since: datetime) -> Books:
        self._fail()
        return Books(since, datetime.now(UTC), {tenant_id: Account() for tenant_id in self.tenants})

    async def resume_chat(self, tenant_id: TenantId, chat_id: UUID) -> ChatRow:
        await self.fetch_tenant(tenant_id)
        raise NotFoundError(f"There is no chat {chat_id}.")

    async def take_stock(self) -> Stock:
        self.stocks_taken += 1
        self._fail()
        states = [
            StoredState(
                row.tenant_id,
                row.status,
                row.session_state,
                row.worker_status,
                row.reason,
                row.restarts,
            )
            for row in self.tenants.values()
        ]
        return Stock(datetime.now(UTC), tuple(states), tuple(self.depths), tuple(self.undelivered))

    async def fetch_keeping(self) -> Keeping:
        self._fail()
        return self.keeping

    def pool(self) -> PoolFigures:
        return PoolFigures(size=3, idle=2, limit=10)

    async def claim_key(
        self, name: KeyName, body_digest: bytes, about: TenantId | None
    ) -> KnownKey | None:
        self._fail()
        if name in self.keys:
            return self.keys[name]
        self.keys[name] = KnownKey(body_digest, None)
        return None

    async def settle_key(self, name: KeyName, answer: StoredAnswer, about: UUID | None) -> None:
        self._fail()
        self.keys[name] = replace(self.keys[name], answer=answer)

    async def release_key(self, name: KeyName) -> None:
        self._fail()
        del self.keys[name]

    async def create_run(
        self, principal: str, verb: str, tenants: Sequence[TenantId], *, dry_run: bool
    ) -> BulkRun:
        self._fail()
        run = BulkRun(uuid4(), principal, verb, dry_run, tenants, datetime.now(UTC))
        self.runs[run.run_id] = run
        return run

    async def end_run(self, run_id: UUID) -> None:
        self.runs[run_id] = replace(self.runs[run_id], ended_at=datetime.now(UTC))

    async def begin_item(self, run_id: UUID, tenant_id: TenantId) -> None:
        await self.fetch_tenant(tenant_id)
        self.items[run_id, tenant_id] = BulkItem(tenant_id, Outcome.RUNNING)

    async def end_item(self, run_id: UUID, item: BulkItem) -> None:
        self.items[run_id, item.tenant_id] = item

    async def find_run(self, run_id: UUID) -> BulkRun | None:
        self._fail()
        return self.runs.get(run_id)

    async def list_items(self, run: BulkRun, *, live: bool) -> list[BulkItem]:
        rest = Outcome.WAITING if live else Outcome.NOT_STARTED
        return [self.items.get((run.run_id, each), BulkItem(each, rest)) for each in run.tenants]

    async def read_tenant(self, tenant_id: TenantId) -> AsyncIterator[ExportedRow]:
        yield ExportedRow("tenants", {"id": str(tenant_id)})

    async def read_contact(self, tenant_id: TenantId, person: Person) -> AsyncIterator[ExportedRow]:
        yield ExportedRow("contacts", {"id": str(person.contact)})

    async def find_person(self, tenant_id: TenantId, reference: str) -> Person:
        await self.fetch_tenant(tenant_id)
        raise NotFoundError("The tenant has no contact with this number.")

    async def erase_contact(self, tenant_id: TenantId, reference: str) -> Erased:
        await self.fetch_tenant(tenant_id)
        raise NotFoundError("The tenant has no contact with this number.")

    async def erase_tenant(self, tenant_id: TenantId) -> Mapping[str, int]:
        await self.delete_tenant(tenant_id)
        return {"tenants": 1}

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _refuse_phone(self, number: str | None, own: TenantId | None) -> None:
        for row in self.tenants.values():
            if row.phone_number == number and row.tenant_id != own:
                raise AlreadyExistsError("The number is in use.", field="phone_number")


def absent_portal() -> PortalStore:
    """On a database that is not there; the tests of the portal have a real one."""
    return PortalStore(Database("postgresql://nobody@127.0.0.1:1/none"))


def _is_chosen(row: TenantRow, chosen: TenantFilter) -> bool:
    wanted = [
        (chosen.status, row.status),
        (chosen.reason, row.reason),
        (chosen.desired, row.desired),
        (chosen.template, row.template),
    ]
    return (
        all(choice is None or choice == value for choice, value in wanted)
        and chosen.text.lower() in row.name.lower()
        and (chosen.among is None or row.tenant_id in chosen.among)
    )


def session_row(
    state: SessionState, code: str | None = None, expires_at: datetime | None = None
) -> SessionRow:
    return SessionRow(
        state=state,
        last_qr=None if code is None else png_data_url(code),
        last_qr_text=code,
        last_qr_expires_at=expires_at,
        last_seen_at=None,
        paired_at=None,
        own_jid=None,
        own_lid=None,
    )


def _page(
    rows: list[Any], limit: int, place: str | None, parameter: str
) -> tuple[list[Any], str | None]:
    if place is not None and not place.isdigit():
        raise InvalidInputError("is not a place of ours.", field=parameter)
    start = int(place or 0)
    end = start + limit
    return rows[start:end], str(end) if end < len(rows) else None


class FakeAudit:
    """Entries in the order of their beginning; ``failure`` is raised by every call while set."""

    def __init__(self) -> None:
        self.entries: dict[UUID, EntryRow] = {}
        self.failure: BaseException | None = None

    async def begin(self, entry: NewEntry) -> UUID:
        return self._keep(entry, None, ())

    async def end(self, entry_id: UUID, *, status: int, changes: Sequence[Change]) -> None:
        if self.failure is not None:
            raise self.failure
        row = self.entries[entry_id]
        if row.status is None:
            self.entries[entry_id] = replace(row, status=status, changes=changes, done_at=row.at)

    async def write(self, entry: NewEntry, *, status: int, changes: Sequence[Change]) -> None:
        self._keep(entry, status, changes)

    async def list_entries(
        self, wanted: EntryFilter, *, limit: int, before: str | None
    ) -> EntryPage:
        rows = [row for row in self.entries.values() if _fits(row.entry, wanted)]
        return EntryPage(*_page(rows[::-1], limit, before, "before"))

    def _keep(self, entry: NewEntry, status: int | None, changes: Sequence[Change]) -> UUID:
        if self.failure is not None:
            raise self.failure
        entry_id, now = uuid4(), datetime.now(UTC)
        done_at = None if status is None else now
        self.entries[entry_id] = EntryRow(entry_id, now, entry, status, changes, done_at)
        return entry_id


def _fits(entry: NewEntry, wanted: EntryFilter) -> bool:
    return (
        wanted.tenant_id in (None, entry.tenant_id)
        and wanted.principal in (None, entry.principal)
        and wanted.route in (None, entry.route)
    )


class FakeBackups:
    """Takes none, but says that it did; ``locked_with`` has each passphrase it was given."""

    def __init__(self) -> None:
        self.locked_with: list[str | None] = []
        self.refusal: FlowHQError | None = None

    async def take(self, tenant_id: TenantId, passphrase: str | None) -> Taken:
        if self.refusal is not None:
            raise self.refusal
        if passphrase is None:
            raise InvalidInputError("A passphrase is needed.", field="passphrase")
        self.locked_with.append(passphrase)
        return Taken(Path("backups") / str(tenant_id), 4096, datetime.now(UTC), 2, {"tenants": 1})


class FakeFleet:
    """Does what verbs say at once and records them; ``refusal`` is raised by the next verb."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, TenantId]] = []
        self.seen: dict[TenantId, TenantSnapshot] = {}
        self.refusal: FlowHQError | None = None
        self.woken: list[tuple[TenantId, ChatKey]] = []
        self.waiting = 0
        """Who waits for a change right now."""
        self._news = asyncio.Event()

    def snapshot(self, tenant_id: TenantId) -> TenantSnapshot | None:
        return self.seen.get(tenant_id)

    def snapshots(self) -> Mapping[TenantId, TenantSnapshot]:
        return dict(self.seen)

    def observe(self, snapshot: TenantSnapshot) -> None:
        self.seen[snapshot.tenant_id] = snapshot
        self._news.set()
        self._news = asyncio.Event()

    async def start(self, tenant_id: TenantId) -> TenantSnapshot:
        present = self.seen.get(tenant_id)
        if present is not None and present.worker is WorkerStatus.RUNNING:
            raise WrongStateError("It runs already.", next_step="Use restart to start it afresh.")
        return self._become("start", tenant_id, WorkerStatus.RUNNING, Reason.STARTING)

    async def stop(self, tenant_id: TenantId) -> TenantSnapshot:
        return self._become("stop", tenant_id, WorkerStatus.STOPPED, Reason.STOPPED_BY_ADMIN)

    async def restart(self, tenant_id: TenantId) -> TenantSnapshot:
        return self._become("restart", tenant_id, WorkerStatus.RUNNING, Reason.STARTING)

    async def force_restart(self, tenant_id: TenantId) -> TenantSnapshot:
        return self._become("force_restart", tenant_id, WorkerStatus.RUNNING, Reason.STARTING)

    async def pause(self, tenant_id: TenantId) -> TenantSnapshot:
        return self._become("pause", tenant_id, WorkerStatus.RUNNING, Reason.PAUSED_BY_ADMIN)

    async def resume(self, tenant_id: TenantId) -> TenantSnapshot:
        return self._become("resume", tenant_id, WorkerStatus.RUNNING, Reason.CONNECTED)

    async def log_out(self, tenant_id: TenantId) -> TenantSnapshot:
        return self._become("log_out", tenant_id, WorkerStatus.STOPPED, Reason.LOGGED_OUT)

    async def forget(self, tenant_id: TenantId, delete: Callable[[], Awaitable[None]]) -> None:
        self.calls.append(("forget", tenant_id))
        await delete()
        self.seen.pop(tenant_id, None)

    async def rest(self, tenant_id: TenantId, work: Callable[[], Awaitable[T]]) -> T:
        if self.refusal is not None:
            raise self.refusal
        self.calls.append(("rest", tenant_id))
        return await work()

    async def reload(self, tenant_id: TenantId) -> None:
        self.calls.append(("reload", tenant_id))

    def wake(self, tenant_id: TenantId, chat_key: ChatKey) -> None:
        self.woken.append((tenant_id, chat_key))

    async def changed(self, tenant_id: TenantId, timeout_s: float) -> TenantSnapshot | None:
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            pass
        finally:
            self.waiting -= 1
        return self.seen.get(tenant_id)

    async def health(self) -> Mapping[str, object]:
        return {"tenants": len(self.seen)}

    def _become(
        self, verb: str, tenant_id: TenantId, worker: WorkerStatus, reason: Reason
    ) -> TenantSnapshot:
        if self.refusal is not None:
            raise self.refusal
        self.calls.append((verb, tenant_id))
        running = worker is WorkerStatus.RUNNING
        self.observe(
            TenantSnapshot(
                tenant_id=tenant_id,
                status=TenantStatus.QR_PENDING if running else TenantStatus.NEW,
                session=SessionState.DISCONNECTED,
                worker=worker,
                desired=DesiredState.RUNNING if running else DesiredState.STOPPED,
                reason=reason,
                next_action="Wait.",
                paused=verb == "pause",
            )
        )
        return self.seen[tenant_id]
