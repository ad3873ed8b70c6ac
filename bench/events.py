"""What telling events costs a message: a turn with the triggers and without, and the numbering.

    .venv/bin/python -m bench.events [--turns 300] [--rounds 4]

Starts an embedded PostgreSQL. A turn is one message in, answered, sent, delivered and read, as the
ledger stores it; the rounds with and without triggers take turns, so that both meet the same
machine. A webhook for all events makes the numbering queue a delivery each.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from flowhq.db import events, webhooks
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.installation import load_installation
from flowhq.db.migrate import migrate
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.model import Ack, InboxKey, InboxState
from flowhq.webhooks.signing import new_secret
from tests.integration.db.conftest import Shop, open_shop
from tests.integration.db.messages import message, say
from tests.vaults import open_vault

TRIGGERS = {
    "message_logs": ("message_logs_told", "message_logs_told_on"),
    "conversations": ("conversations_told",),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="flowhq-events-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        asyncio.run(measure(Path(folder), options.turns, options.rounds))
    return 0


async def measure(home: Path, turns: int, rounds: int) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedPostgres(home / "postgres"))
        url = server.dsn()
        await migrate(url)
        installation = await load_installation(url)
        database = await stack.enter_async_context(Database(url, vault=await open_vault(url)))
        shop = await open_shop(database, installation, "+255700000001")
        await webhooks.create_endpoint(
            database,
            None,
            url="https://example.org/",
            types=[],
            secret=new_secret(),
        )
        first = 0
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(rounds):
            for told in (True, False):
                await switch(url, on=told)
                times[told] += [await turn(shop, first + number) for number in range(turns)]
                first += turns
        await switch(url, on=True)
        with_ms, without_ms = (1000 * median(times[told]) for told in (True, False))
        print(f"a turn: {with_ms:.2f} ms with events, {without_ms:.2f} ms without (medians)")
        await tell_numbering(database)


async def turn(shop: Shop, number: int) -> float:
    """Seconds for one message and its answer, to the last ack."""
    arrived = message(f"3A{number:08d}")
    key = InboxKey(False, arrived.message_id)
    began = time.perf_counter()
    await shop.ledger.record(replace(arrived, at=datetime.now(UTC)), state=InboxState.NEW)
    [row] = await shop.ledger.process(key, say("Karibu"))
    await shop.ledger.mark_sending(row.outbox_id)
    await shop.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
    await shop.ledger.acknowledge([row.client_id], Ack.DELIVERED)
    await shop.ledger.acknowledge([row.client_id], Ack.READ)
    return time.perf_counter() - began


async def switch(url: str, *, on: bool) -> None:
    async with owner_connection(url) as connection:
        for table, names in TRIGGERS.items():
            for name in names:
                verb = "ENABLE" if on else "DISABLE"
                await connection.execute(f"ALTER TABLE {table} {verb} TRIGGER {name}")


async def tell_numbering(database: Database) -> None:
    count, began = 0, time.perf_counter()
    while numbered := await events.number(database):
        count += numbered
    took_s = time.perf_counter() - began
    print(
        f"numbering and queueing: {count} events in {took_s:.2f} s, "
        f"{1000 * took_s / max(count, 1):.3f} ms each, in the background"
    )


if __name__ == "__main__":
    sys.exit(main())
