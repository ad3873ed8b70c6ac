"""How long it takes that what is old goes: texts of a day blanked, a day dropped, with its archive.

    .venv/bin/python -m bench.retention [--messages 1000000]

Fills one day of the ledger of a throwaway PostgreSQL, for 500 tenants, and lets it grow too old.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.filling import Server, throwaway_server
from flowhq.db import days, retention
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.db.retention import Terms

TENANTS = 500
TERMS = Terms(text_days=90, metadata_days=400, payload_days=7)
AIM_S = 1.0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=1_000_000)
    with tempfile.TemporaryDirectory(prefix="flowhq-retention-") as folder:
        Path(folder).chmod(0o755)
        asyncio.run(measure(Path(folder), options.parse_args().messages))
    return 0


async def measure(home: Path, messages: int) -> None:
    today = datetime.now(UTC)
    async with throwaway_server(home) as server:
        await server.add_tenants(TENANTS)
        for back in (401, 402, 91):
            await server.fill_day((today - timedelta(days=back)).date(), messages)
        await blanked(server, today)
        for archive in (None, home / "archive"):
            await dropped(server, archive)


async def blanked(server: Server, now: datetime) -> None:
    """The texts of one day, 91 days old, a tenant after the other."""
    oldest = now - timedelta(days=92)
    async with Database(server.url) as database:
        tenants = await retention.list_terms(database, TERMS)
        with timed("texts of a day blanked, in batches of 1,000"):
            gone = 0
            for tenant_id, terms in tenants.items():
                done = await retention.blank_tenant(
                    database, tenant_id, terms, now=now, oldest=oldest
                )
                gone += done["texts"]
        print(f"    {gone:,} texts of {len(tenants)} tenants")


async def dropped(server: Server, archive: Path | None) -> None:
    async with Database(server.url) as database:
        oldest = (await days.list_days(database))[0]
    async with owner_connection(server.url) as connection:
        rows = await connection.fetchval(f"SELECT count(*) FROM {oldest.name}")  # noqa: S608
    how = "written down, read back, counted and dropped" if archive else "dropped"
    with timed(f"a day of {rows:,} rows ({oldest.size_bytes / 1e6:.0f} MB) {how}") as took:
        gone = await days.drop_day(server.url, oldest, archive)
    if archive is not None:
        print(f"    {gone.archived:,} rows in {gone.archive_bytes / 1e6:.0f} MB")
    else:
        print(f"    aim {AIM_S:g} s: {'met' if took[0] <= AIM_S else 'missed'}")


@contextmanager
def timed(what: str) -> Iterator[list[float]]:
    took = [0.0]
    began = time.monotonic()
    yield took
    took[0] = time.monotonic() - began
    print(f"{what}: {took[0]:.2f} s")


if __name__ == "__main__":
    raise SystemExit(main())
