"""What the API needs of the rest of the daemon, as Protocols; the composition root fills them.

The supervisor is a neighbour that this package must not import: it satisfies `Fleet` by shape.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from flowhq.admin.credentials import Credentials
from flowhq.admin.outward import Outward
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.recording import AuditBook
from flowhq.backup.taking import Taken
from flowhq.clock import Clock
from flowhq.config import AdminSettings, EgressSettings, PortalSettings, RetentionSettings
from flowhq.db.accounting import Books
from flowhq.db.bulk import BulkItem, BulkRun
from flowhq.db.chats import ChatPage, ChatRow, Silence
from flowhq.db.contacts import Erased, Person
from flowhq.db.deadletters import DeadPage
from flowhq.db.figures import Stock
from flowhq.db.keys import KeyName, KnownKey, StoredAnswer
from flowhq.db.logs import LogFilter, LogPage
from flowhq.db.portable import ExportedRow
from flowhq.db.sessions import SessionRow
from flowhq.db.states import EventPage
from flowhq.db.stories import Story
from flowhq.db.sweeps import Keeping
from flowhq.db.tenantlists import TenantFilter, TenantPage
from flowhq.db.tenants import NewTenant, TenantRow
from flowhq.egress.client import EgressClient
from flowhq.figures import PoolFigures
from flowhq.metrics import Metrics
from flowhq.model import ChatKey, TenantId, TenantSnapshot
from flowhq.pulse import Pulse

T = TypeVar("T")


class Fleet(Protocol):
    """Every tenant's runner. Verbs are idempotent under a lock per tenant, and say what became.

    A verb raises WrongStateError if it does not fit (nothing changed), NotFoundError for an
    unknown tenant, MisconfiguredError if something outside must be set right first.
    """

    def snapshot(self, tenant_id: TenantId) -> TenantSnapshot | None:
        """The tenant as it is now; None if it is not known here (yet)."""
        ...

    def snapshots(self) -> Mapping[TenantId, TenantSnapshot]: ...

    async def start(self, tenant_id: TenantId) -> TenantSnapshot: ...

    async def stop(self, tenant_id: TenantId) -> TenantSnapshot: ...

    async def restart(self, tenant_id: TenantId) -> TenantSnapshot: ...

    async def force_restart(self, tenant_id: TenantId) -> TenantSnapshot:
        """Kill the tenant's browser tree, whatever state it is in, and start anew."""
        ...

    async def pause(self, tenant_id: TenantId) -> TenantSnapshot: ...

    async def resume(self, tenant_id: TenantId) -> TenantSnapshot: ...

    async def log_out(self, tenant_id: TenantId) -> TenantSnapshot:
        """Unlink the device and forget the profile."""
        ...

    async def forget(self, tenant_id: TenantId, delete: Callable[[], Awaitable[None]]) -> None:
        """Stop it, remove the profile, ``delete`` its rows: nobody can start it in between."""
        ...

    async def rest(self, tenant_id: TenantId, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` gives while the tenant is stopped; it runs again afterwards if it ran."""
        ...

    async def reload(self, tenant_id: TenantId) -> None:
        """The configuration changed: it holds from the next message on."""
        ...

    def wake(self, tenant_id: TenantId, chat_key: ChatKey) -> None:
        """Work was put back for this chat; a tenant that runs looks after it at once."""
        ...

    async def changed(self, tenant_id: TenantId, timeout_s: float) -> TenantSnapshot | None:
        """Wait until the snapshot changes or the time is over; then the snapshot as it is."""
        ...

    async def health(self) -> Mapping[str, object]:
        """Figures for people: how many tenants in which state, and what else is worth telling."""
        ...


class KeyStore(Protocol):
    """The idempotency keys; see flowhq.db.keys."""

    async def claim_key(
        self, name: KeyName, body_digest: bytes, about: TenantId | None
    ) -> KnownKey | None:
        """None: it is the caller's, to be settled or released. Else what is known of it."""
        ...

    async def settle_key(self, name: KeyName, answer: StoredAnswer, about: UUID | None) -> None: ...

    async def release_key(self, name: KeyName) -> None: ...


class BulkStore(Protocol):
    """The bulk runs; see flowhq.db.bulk."""

    async def create_run(
        self, principal: str, verb: str, tenants: Sequence[TenantId], *, dry_run: bool
    ) -> BulkRun: ...

    async def end_run(self, run_id: UUID) -> None: ...

    async def begin_item(self, run_id: UUID, tenant_id: TenantId) -> None:
        """It is under way; NotFoundError if the tenant is gone."""
        ...

    async def end_item(self, run_id: UUID, item: BulkItem) -> None: ...

    async def find_run(self, run_id: UUID) -> BulkRun | None: ...

    async def list_items(self, run: BulkRun, *, live: bool) -> list[BulkItem]:
        """Each tenant in the run's order; ``live``: this process is at it."""
        ...


class DataStore(Protocol):
    """All that is stored of a tenant or a contact; see flowhq.db.portable and contacts."""

    def read_tenant(self, tenant_id: TenantId) -> AsyncIterator[ExportedRow]:
        """Every row, without secrets."""
        ...

    def read_contact(self, tenant_id: TenantId, person: Person) -> AsyncIterator[ExportedRow]: ...

    async def find_person(self, tenant_id: TenantId, reference: str) -> Person:
        """By number or the platform's id; NotFoundError if it is nobody's."""
        ...

    async def erase_contact(self, tenant_id: TenantId, reference: str) -> Erased: ...

    async def erase_tenant(self, tenant_id: TenantId) -> Mapping[str, int]:
        """As delete_tenant; how many rows there were, by table."""
        ...


class Store(KeyStore, BulkStore, DataStore, Protocol):
    """The stored side. StoreUnavailableError when the database is away: nothing was changed.

    An unknown tenant is NotFoundError, a phone number in use AlreadyExistsError with the field
    ``phone_number``, a place that is not one of ours InvalidInputError with the parameter's name.
    """

    async def ping(self) -> None: ...

    async def create_tenant(self, new: NewTenant) -> TenantRow:
        """Tenant, configuration, session and worker in one transaction."""
        ...

    async def fetch_tenant(self, tenant_id: TenantId) -> TenantRow: ...

    async def list_tenants(
        self, chosen: TenantFilter, *, limit: int, after: str | None
    ) -> TenantPage:
        """Newest first."""
        ...

    async def update_tenant(
        self, tenant_id: TenantId, changes: Mapping[str, Any], *, seen: Collection[str] | None
    ) -> TenantRow:
        """``changes`` by the names of NewTenant; what is not named stays. ChangedMeanwhileError
        if ``seen`` is given and the tenant's version is none of them."""
        ...

    async def delete_tenant(self, tenant_id: TenantId) -> None:
        """The tenant and every row of it."""
        ...

    async def fetch_session(self, tenant_id: TenantId) -> SessionRow: ...

    async def list_logs(
        self, tenant_id: TenantId, chosen: LogFilter, *, limit: int, before: str | None
    ) -> LogPage:
        """Newest first."""
        ...

    async def list_events(
        self, tenant_id: TenantId, *, limit: int, before: str | None
    ) -> EventPage:
        """Newest first."""
        ...

    async def list_chats(
        self, tenant_id: TenantId, *, silence: Silence | None, limit: int, after: str | None
    ) -> ChatPage:
        """Newest first."""
        ...

    async def list_dead(self, tenant_id: TenantId, *, limit: int, after: str | None) -> DeadPage:
        """What was given up, newest first."""
        ...

    async def fetch_story(self, tenant_id: TenantId, reference: str) -> Story:
        """One message by the platform's id or the ledger's; NotFoundError without one."""
        ...

    async def requeue(self, tenant_id: TenantId, reference: str) -> tuple[Story, ChatKey]:
        """Put a dead message back: its story, and the chat to wake. WrongStateError if it is not
        dead."""
        ...

    async def fetch_account(self, tenant_id: TenantId, since: datetime) -> Books: ...

    async def fetch_accounts(self, since: datetime) -> Books: ...

    async def resume_chat(self, tenant_id: TenantId, chat_id: UUID) -> ChatRow:
        """Ends the bot's silence in a chat; NotFoundError without such a chat."""
        ...

    # -- operations ------------------------------------------------------------------------------

    async def take_stock(self) -> Stock:
        """Every tenant's state and what of theirs waits, in three readings."""
        ...

    async def fetch_keeping(self) -> Keeping:
        """How the daily sweep went, and what the tables take."""
        ...

    def pool(self) -> PoolFigures:
        """How the connections are used at this moment; asks nobody."""
        ...


class Backups(Protocol):
    """Where backups of tenants are put."""

    async def take(self, tenant_id: TenantId, passphrase: str | None) -> Taken:
        """A new file with all of a tenant that does not run. Without a passphrase it is locked
        with the configured key; InvalidInputError names ``passphrase`` if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class AdminDeps:
    """What the application is built on; ``started_at`` is the daemon's start, aware UTC."""

    store: Store
    fleet: Fleet
    settings: AdminSettings
    clock: Clock
    version: str
    started_at: datetime
    audit: AuditBook
    credentials: Credentials
    portal: PortalStore
    portal_settings: PortalSettings = field(default_factory=PortalSettings)
    egress: EgressClient = field(default_factory=lambda: EgressClient(EgressSettings()))
    """The way out, which the daemon opens; closed it calls nobody."""
    pulse: Pulse = field(default_factory=Pulse)
    metrics: Metrics = field(default_factory=Metrics)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Where the daemon writes, by the setting that says so."""
    backups: Backups = field(kw_only=True)
    outward: Outward = field(kw_only=True)
