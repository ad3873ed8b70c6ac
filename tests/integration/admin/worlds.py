"""Two shops with a row behind every address, and credentials of every reach, for tests that go
through the whole table of routes."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flowhq.admin.scopes import ROLE_SCOPES, Role, Scope
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.model import InboundMessage, InboxState, Jid, MessageId, MessageKind, Source, TenantId
from tests.integration.admin.conftest import Api

SCOPE = re.compile(r"Needs the scope `([a-z:]+)`")
# What an operator may, and all that can be done with data: of tokens for some tenants.
LIMITED = ROLE_SCOPES[Role.OPERATOR] | {Scope.DATA_EXPORT, Scope.DATA_ERASE}


@dataclass(frozen=True)
class Operation:
    """One operation of the OpenAPI document. ``scope`` None: it is open to all."""

    method: str
    path: str
    name: str
    scope: Scope | None
    described: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_tenant(self) -> bool:
        return "{tenant_id}" in self.path

    @property
    def streams(self) -> bool:
        """Whether the answer goes on for as long as somebody listens."""
        content = self.described["responses"].get("200", {}).get("content", {})
        return "text/event-stream" in content

    def at(self, ids: Mapping[str, str]) -> str:
        """The address with these ids in it."""
        return re.sub(r"{(\w+)}", lambda match: ids[match[1]], self.path)


def operations_of(document: Mapping[str, Any]) -> list[Operation]:
    """All of the document, in its order."""
    return [
        Operation(method.upper(), path, described["operationId"], _scope_of(described), described)
        for path, item in document["paths"].items()
        for method, described in item.items()
    ]


def _scope_of(described: Mapping[str, Any]) -> Scope | None:
    match = SCOPE.search(described["description"])
    assert (match is None) == (described["security"] == []), described["operationId"]
    return None if match is None else Scope(match[1])


async def make_shop(api: Api, database: Database, url: str, phone: str) -> dict[str, str]:
    """A tenant with a chat, a message and a bulk run: the ids, by their names in addresses."""
    tenant_id = TenantId(UUID(await api.create(phone)))
    key = (await load_installation(url)).tenant_key(tenant_id)
    message = InboundMessage(
        message_id=MessageId(f"3EB0{phone[-8:]}"),
        chat=Jid("255711111111@c.us"),
        from_me=False,
        kind=MessageKind.TEXT,
        text="Habari",
        at=datetime.now(UTC),
        source=Source.LIVE,
        sender=Jid("255711111111@c.us"),
        phone="255711111111",
    )
    await PostgresLedger(database, tenant_id, key).record(message, state=InboxState.NEW)
    chats = await api.call("GET", f"/admin/tenants/{tenant_id}/chats")
    run = await api.call("POST", "/admin/bulk", json={"verb": "stop", "tenants": [str(tenant_id)]})
    await _ended(api, run.headers["Location"])
    return {
        "tenant_id": str(tenant_id),
        "chat": chats.body["items"][0]["id"],
        "message": str(message.message_id),
        "run": run.body["id"],
        "file": "docs.js",
    }


async def _ended(api: Api, run: str) -> None:
    """Waits until the run has touched whom it touches."""
    async with asyncio.timeout(20):
        while True:
            if (await api.call("GET", run)).body["state"] == "ended":
                return
            await asyncio.sleep(0.01)


async def make_token(
    api: Api, name: str, scopes: frozenset[Scope], tenants: list[str] | None = None
) -> str:
    """The value of an Authorization header that reaches this far."""
    body = {"name": name, "scopes": sorted(scopes), "tenants": tenants}
    answer = await api.call("POST", "/admin/tokens", json=body)
    assert answer.status == 201, answer.body
    return f"Bearer {answer.body['token']}"
