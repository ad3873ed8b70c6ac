"""What the API needs of the rest of the daemon, as Protocols; the composition root fills them.

The supervisor is a neighbour that this package must not import: it satisfies `Fleet` by shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from flowhq.clock import Clock
from flowhq.config import AdminSettings
from flowhq.model import (
    DesiredState,
    Direction,
    Language,
    MessageKind,
    MessageStatus,
    Reason,
    SessionState,
    TemplateType,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)


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

    async def forget(self, tenant_id: TenantId) -> None:
        """Stop and remove the profile, before the tenant is deleted."""
        ...

    async def reload(self, tenant_id: TenantId) -> None:
        """The configuration changed: it holds from the next message on."""
        ...

    async def changed(self, tenant_id: TenantId, timeout_s: float) -> TenantSnapshot | None:
        """Wait until the snapshot changes or the time is over; then the snapshot as it is."""
        ...

    async def health(self) -> Mapping[str, object]:
        """Figures for people: how many tenants in which state, and what else is worth telling."""
        ...


# -- what is stored --------------------------------------------------------------------------------

RecordT = TypeVar("RecordT", covariant=True)


@dataclass(frozen=True, slots=True)
class Page(Generic[RecordT]):
    """One page; ``next`` is the opaque place where the next one begins, None after the last."""

    records: Sequence[RecordT]
    next: str | None


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """A tenant as it is stored, with its configuration, session and worker."""

    tenant_id: TenantId
    name: str
    phone_number: str
    status: TenantStatus
    desired: DesiredState
    reason: Reason
    paused: bool
    template: TemplateType
    business_name: str
    language: Language
    timezone: str
    hours: Mapping[str, Any] | None
    details: Mapping[str, Any]
    session_state: SessionState
    last_seen_at: datetime | None
    paired_at: datetime | None
    worker_name: str
    worker_status: WorkerStatus
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PairingRecord:
    """The pairing side of a tenant. ``qr_data_url`` is a PNG, ``qr_text`` what it encodes."""

    state: SessionState
    qr_data_url: str | None
    qr_text: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One message of the ledger."""

    log_id: str
    direction: Direction
    from_number: str
    to_number: str
    kind: MessageKind
    text: str
    status: MessageStatus
    wa_message_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One change of a tenant's state."""

    event_id: str
    event: str
    from_status: TenantStatus | None
    to_status: TenantStatus
    reason: Reason
    detail: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TenantFields:
    """Everything an operator sets of a tenant. ``hours`` None is always open."""

    name: str
    phone_number: str
    template: TemplateType
    business_name: str
    language: Language
    timezone: str
    hours: Mapping[str, Any] | None
    details: Mapping[str, Any]


class Store(Protocol):
    """The stored side. StoreUnavailableError when the database is away: nothing was changed.

    An unknown tenant is NotFoundError, a phone number in use AlreadyExistsError with the field
    ``phone_number``, a place that is not one of ours InvalidInputError with the field of the
    parameter.
    """

    async def ping(self) -> None: ...

    async def create_tenant(self, fields: TenantFields) -> TenantRecord:
        """Tenant, configuration, session and worker in one transaction."""
        ...

    async def fetch_tenant(self, tenant_id: TenantId) -> TenantRecord: ...

    async def list_tenants(self, *, limit: int, after: str | None) -> Page[TenantRecord]:
        """Newest first."""
        ...

    async def update_tenant(self, tenant_id: TenantId, changes: Mapping[str, Any]) -> TenantRecord:
        """``changes`` by the names of TenantFields; what is not named stays."""
        ...

    async def delete_tenant(self, tenant_id: TenantId) -> None:
        """The tenant and every row of it."""
        ...

    async def fetch_pairing(self, tenant_id: TenantId) -> PairingRecord: ...

    async def list_logs(
        self, tenant_id: TenantId, *, limit: int, before: str | None
    ) -> Page[LogRecord]:
        """Newest first."""
        ...

    async def list_events(
        self, tenant_id: TenantId, *, limit: int, before: str | None
    ) -> Page[EventRecord]:
        """Newest first."""
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
