"""The owner's connection: for migrations, partitions, old entries of the audit and the
installation's secret alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from asyncpg import Record

from flowhq.db.faults import connecting, translated
from flowhq.db.pool import prepare_connection

# One statement of a migration; a table of many million rows takes its time.
STATEMENT_LIMIT_S = 3600.0
# More than the pool gives a connection: a start that fails costs more than one that takes longer.
CONNECT_LIMIT_S = 10.0
CLOSE_LIMIT_S = 3.0
# The server ends the session of a machine that is gone after 30 + 3 * 10 s, and with it its locks.
SESSION = {
    "application_name": "flowhq-migrate",
    "timezone": "UTC",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


@asynccontextmanager
async def owner_connection(url: str) -> AsyncIterator["asyncpg.Connection[Record]"]:
    """One connection with the rights of the url's own user, closed at the end."""
    with connecting():
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_LIMIT_S,
            command_timeout=STATEMENT_LIMIT_S,
            server_settings=SESSION,
        )
    try:
        with translated():
            await prepare_connection(connection)
        yield connection
    finally:
        try:
            await connection.close(timeout=CLOSE_LIMIT_S)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()
