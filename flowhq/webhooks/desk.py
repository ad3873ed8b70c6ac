"""Webhooks as people set them up: endpoints made, changed, tried out; deliveries listed, repeated.

It satisfies `admin.ports.Webhooks` by shape. ``owner`` None is the installation.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import orjson

from flowhq.clock import Clock
from flowhq.db import deliveries, webhooks
from flowhq.db.deliveries import DeliveryPage, Replayed
from flowhq.db.pool import Database
from flowhq.db.webhooks import EndpointRow
from flowhq.egress.client import EgressClient
from flowhq.errors import EgressRefusedError, InvalidInputError, NotFoundError
from flowhq.model import DeliveryState, EventType, TenantId
from flowhq.webhooks.dispatcher import Dispatcher
from flowhq.webhooks.signing import new_secret

TRIAL = "webhook.test"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a receiver said to an event that never was; ``status`` None without an answer."""

    delivered: bool
    status: int | None
    error: str
    ms: int


class WebhookDesk:
    def __init__(
        self,
        database: Database,
        client: EgressClient,
        dispatcher: Dispatcher,
        clock: Clock,
    ) -> None:
        self._database = database
        self._client = client
        self._dispatcher = dispatcher
        self._clock = clock

    async def list_endpoints(self, owner: TenantId | None) -> Sequence[EndpointRow]:
        return await webhooks.list_endpoints(self._database, owner)

    async def fetch(self, owner: TenantId | None, endpoint_id: UUID) -> EndpointRow:
        return await webhooks.fetch_endpoint(self._database, owner, endpoint_id)

    async def create(
        self, owner: TenantId | None, url: str, types: Sequence[EventType]
    ) -> tuple[EndpointRow, str]:
        await self._check(url)
        secret = new_secret()
        row = await webhooks.create_endpoint(
            self._database, owner, url=url, types=types, secret=secret
        )
        return row, secret

    async def update(
        self,
        owner: TenantId | None,
        endpoint_id: UUID,
        changes: Mapping[str, Any],
        seen: Collection[str] | None = None,
    ) -> tuple[EndpointRow, EndpointRow]:
        if "url" in changes:
            await self._check(changes["url"])
        rows = await webhooks.update_endpoint(
            self._database, owner, endpoint_id, changes, seen=seen
        )
        self._dispatcher.changed(endpoint_id)
        return rows

    async def rotate(self, owner: TenantId | None, endpoint_id: UUID) -> tuple[EndpointRow, str]:
        secret = new_secret()
        row = await webhooks.rotate_secret(self._database, owner, endpoint_id, secret)
        self._dispatcher.changed(endpoint_id)
        return row, secret

    async def delete(
        self, owner: TenantId | None, endpoint_id: UUID, seen: Collection[str] | None = None
    ) -> EndpointRow:
        row = await webhooks.delete_endpoint(self._database, owner, endpoint_id, seen=seen)
        self._dispatcher.changed(endpoint_id)
        return row

    async def test(self, owner: TenantId | None, endpoint_id: UUID) -> Trial:
        endpoint = await webhooks.open_endpoint(self._database, owner, endpoint_id)
        if endpoint is None:
            raise NotFoundError(f"There is no webhook {endpoint_id}.")
        name = f"{TRIAL.partition('.')[2]}_{uuid4().hex}"
        document = {
            "id": name,
            "type": TRIAL,
            "timestamp": self._clock.now(),
            "tenant_id": None if owner is None else str(owner),
            "data": {},
        }
        began_s = monotonic()
        outcome = await self._dispatcher.try_out(endpoint, name, orjson.dumps(document))
        took_ms = round((monotonic() - began_s) * 1000)
        return Trial(not outcome.error, outcome.status, outcome.error, took_ms)

    async def list_deliveries(
        self,
        owner: TenantId | None,
        endpoint_id: UUID,
        *,
        state: DeliveryState | None,
        limit: int,
        before: int | None,
    ) -> DeliveryPage:
        await self.fetch(owner, endpoint_id)
        return await deliveries.list_deliveries(
            self._database, endpoint_id, state=state, limit=limit, before=before
        )

    async def deliver_again(self, owner: TenantId | None, endpoint_id: UUID, seq: int) -> None:
        await self.fetch(owner, endpoint_id)
        await deliveries.deliver_again(self._database, endpoint_id, seq)
        self._dispatcher.changed(endpoint_id)

    async def replay(self, owner: TenantId | None, endpoint_id: UUID, since: datetime) -> Replayed:
        await self.fetch(owner, endpoint_id)
        replayed = await deliveries.replay(self._database, endpoint_id, since)
        self._dispatcher.changed(endpoint_id)
        return replayed

    async def _check(self, url: str) -> None:
        try:
            await self._client.check(url)
        except EgressRefusedError as error:
            raise InvalidInputError(
                error.message, field="url", next_step=error.next_step
            ) from error
