"""What the API needs to tell events outward, as Protocols: flowhq/webhooks fills them by shape."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from flowhq.db.deliveries import DeliveryPage, Replayed
from flowhq.db.events import OutwardEvent
from flowhq.db.sending import Wanted
from flowhq.db.stories import ReplyStory
from flowhq.db.webhooks import EndpointRow
from flowhq.model import ChatKey, DeliveryState, EventType, TenantId


class Trial(Protocol):
    """What a receiver said to a test."""

    @property
    def delivered(self) -> bool: ...

    @property
    def status(self) -> int | None: ...

    @property
    def error(self) -> str: ...

    @property
    def ms(self) -> int: ...


class Webhooks(Protocol):
    """Endpoints of one owner, a tenant or (None) the installation. NotFoundError for another's;
    InvalidInputError for a URL that must not be called; SealedError for a secret that does not
    open; ChangedMeanwhileError if ``seen`` is given and the endpoint's version is none of it."""

    async def list_endpoints(self, owner: TenantId | None) -> Sequence[EndpointRow]: ...

    async def fetch(self, owner: TenantId | None, endpoint_id: UUID) -> EndpointRow: ...

    async def create(
        self, owner: TenantId | None, url: str, types: Sequence[EventType]
    ) -> tuple[EndpointRow, str]:
        """The row and its secret, which is not shown again."""
        ...

    async def update(
        self,
        owner: TenantId | None,
        endpoint_id: UUID,
        changes: Mapping[str, Any],
        seen: Collection[str] | None = None,
    ) -> tuple[EndpointRow, EndpointRow]:
        """The row before and after."""
        ...

    async def rotate(self, owner: TenantId | None, endpoint_id: UUID) -> tuple[EndpointRow, str]:
        """A new secret; the one before signs beside it for a day."""
        ...

    async def delete(
        self, owner: TenantId | None, endpoint_id: UUID, seen: Collection[str] | None = None
    ) -> EndpointRow:
        """What it was."""
        ...

    async def test(self, owner: TenantId | None, endpoint_id: UUID) -> Trial: ...

    async def list_deliveries(
        self,
        owner: TenantId | None,
        endpoint_id: UUID,
        *,
        state: DeliveryState | None,
        limit: int,
        before: int | None,
    ) -> DeliveryPage: ...

    async def deliver_again(self, owner: TenantId | None, endpoint_id: UUID, seq: int) -> None: ...

    async def replay(
        self, owner: TenantId | None, endpoint_id: UUID, since: datetime
    ) -> Replayed: ...


class Place(Protocol):
    """One stream's place in the feed."""

    @property
    def position(self) -> int:
        """What was told up to this number is read by `EventFeed.past`."""
        ...

    @property
    def lost(self) -> bool:
        """It did not keep up."""
        ...

    async def next(self) -> Sequence[OutwardEvent]: ...


class EventFeed(Protocol):
    """The shared reader of events."""

    @property
    def open(self) -> int:
        """How many streams are."""
        ...

    @property
    def full(self) -> bool:
        """As many streams are open as are allowed."""
        ...

    def subscribe(
        self, types: frozenset[EventType] | None, tenants: frozenset[TenantId] | None
    ) -> Place: ...

    def leave(self, place: Any) -> None: ...

    def past(self, place: Any, after: int) -> AsyncGenerator[Sequence[OutwardEvent]]:
        """What the place shows of the events after this number, up to its position."""
        ...

    async def oldest(self) -> int:
        """The number of the oldest event that is kept; 0 without any."""
        ...


class Sending(Protocol):
    """Messages that a program asks for, through the tenant's outbox."""

    async def ask(self, tenant_id: TenantId, wanted: Wanted) -> tuple[ReplyStory, ChatKey]:
        """Plan it, once for its cause: the message, and the chat to wake. NotFoundError for an
        unknown tenant, WrongStateError for a contact that opted out, AlreadyExistsError for a cause
        that was used for another message."""
        ...


@dataclass(frozen=True, slots=True)
class Outward:
    """All that goes outward."""

    webhooks: Webhooks
    feed: EventFeed
    sending: Sending
