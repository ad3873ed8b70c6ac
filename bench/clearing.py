"""How long it takes to delete a large tenant, and the longest of its statements, beside the cascade
from the tenant's row alone.

    .venv/bin/python -m bench.clearing [--chats 6000] [--messages 300000] [--days 365]

Fills a year of days of a throwaway PostgreSQL for two tenants and deletes each in its own way.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.filling import throwaway_server
from flowhq.db.owner import owner_connection
from flowhq.db.pool import COMMAND_TIMEOUT_S, Database, Tx
from flowhq.db.tenants import DELETE_TENANT, delete_tenant
from flowhq.model import TenantId


def main() -> int:
    parser = argparse.ArgumentParser(description="How long it takes to delete a large tenant.")
    parser.add_argument("--chats", type=int, default=6_000)
    parser.add_argument("--messages", type=int, default=300_000, help="of each of the two")
    parser.add_argument("--days", type=int, default=365)
    with tempfile.TemporaryDirectory(prefix="flowhq-clearing-") as folder:
        Path(folder).chmod(0o755)
        return asyncio.run(measure(Path(folder), parser.parse_args()))


async def measure(home: Path, options: argparse.Namespace) -> int:
    today = datetime.now(UTC).date()
    async with throwaway_server(home) as server:
        print(f"filling {options.days} days", flush=True)
        await server.add_tenants(2, chats=options.chats)
        for back in range(options.days):
            day, messages = today - timedelta(days=back), 2 * options.messages // options.days
            await server.fill_day(day, messages, queues=True)
        await server.settle()
        cascaded, batched = (TenantId(one) for one in server.tenants)
        longest = await batch_by_batch(server.url, batched)
        await in_one(server.url, cascaded)
    print(f"the limit of a statement is {COMMAND_TIMEOUT_S:g} s")
    return 0 if longest < COMMAND_TIMEOUT_S else 1


async def batch_by_batch(url: str, tenant_id: TenantId) -> float:
    """As the daemon does it; the longest transaction, in seconds."""
    took: list[float] = []
    async with Timed(url, took) as database:
        await delete_tenant(database, tenant_id)
    print(f"by the batch: {sum(took):.1f} s, {len(took)} transactions, longest {max(took):.2f} s")
    return max(took)


async def in_one(url: str, tenant_id: TenantId) -> None:
    async with owner_connection(url) as connection:
        began = time.monotonic()
        await connection.execute("SET statement_timeout = 0")
        await connection.fetchval(DELETE_TENANT, tenant_id, timeout=3600.0)
    print(f"in one statement: {time.monotonic() - began:.1f} s")


class Timed(Database):
    """Notes how long each transaction of a tenant takes."""

    def __init__(self, url: str, took: list[float]) -> None:
        super().__init__(url)
        self._took = took

    @asynccontextmanager
    async def tenant(self, tenant_id: TenantId) -> AsyncIterator[Tx]:
        began = time.monotonic()
        async with super().tenant(tenant_id) as tx:
            yield tx
        self._took.append(time.monotonic() - began)


if __name__ == "__main__":
    raise SystemExit(main())
