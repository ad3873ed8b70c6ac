"""Two transactions at once, each as far as a test wants it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asyncpg import Record

from flowhq.db import inbox
from flowhq.db.pool import Tx
from flowhq.model import InboundMessage, InboxState, TenantId
from tests.integration.db.conftest import Shop


async def rows(shop: Shop, sql: str) -> list[Record]:
    async with shop.database.tenant(shop.tenant_id) as tx:
        return await tx.fetch(sql)


class OneTransaction:
    """For a call that is a transaction of its own elsewhere."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    async def call(self, tenant_id: TenantId, sql: str, *args: object) -> Record | None:
        return await self._tx.fetchrow(sql, tenant_id, *args)


@asynccontextmanager
async def recording(shop: Shop, message: InboundMessage) -> AsyncIterator[None]:
    """The message is recorded, and its transaction is open until the end."""
    async with shop.database.tenant(shop.tenant_id) as tx:
        how = inbox.Recording(InboxState.NEW, "", 0.0)
        await inbox.record(OneTransaction(tx), shop.tenant_id, message, how)  # type: ignore[arg-type]
        yield


async def waits_or_is_done(shop: Shop, task: "asyncio.Task[Any]", *, waiting: int = 1) -> bool:
    """``waiting``: how many wait for a lock when it does."""
    (locks,) = await rows(shop, "SELECT count(*) FROM pg_locks WHERE NOT granted")
    return task.done() or locks["count"] >= waiting
