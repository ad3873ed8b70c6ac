"""The owner's connection: for migrations, partitions, old entries of the audit and the
installation's secret alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from asyncpg import Record

from flowhq.db.faults import connecting, translated
from flowhq.db.pool import CONNECT_TIMEOUT_S, prepare_connection

# One statement of a migration; a table of many million rows takes its time.
STATEMENT_LIMIT_S = 3600.0


@asynccontextmanager
async def owner_connection(url: str) -> AsyncIterator["asyncpg.Connection[Record]"]:
    """One connection with the rights of the url's own user, closed at the end."""
    with connecting():
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_LIMIT_S,
            server_settings={"application_name": "flowhq-migrate", "timezone": "UTC"},
        )
    try:
        with translated():
            await prepare_connection(connection)
        yield connection
    finally:
        try:
            await connection.close(timeout=CONNECT_TIMEOUT_S)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
