"""The audit of what is done from the command line, by the operating system's user."""

import os
import pwd
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from flowhq.admin.problems import of_error
from flowhq.admin.recording import Trace, differences, end_entry
from flowhq.admin.store import PostgresAudit
from flowhq.db.audit import NewEntry
from flowhq.db.pool import Database
from flowhq.errors import FlowHQError
from flowhq.model import TenantId


def who() -> str:
    """The principal. As the kernel says it: variables of the environment say anything."""
    uid = os.geteuid()
    try:
        return f"cli:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"cli:{uid}"


async def enter(
    database: Database, command: str, made: Mapping[str, object], tenant_id: TenantId | None = None
) -> None:
    """An entry of what was made; StoreUnavailableError."""
    book = PostgresAudit(database)
    entry = _entry(command, tenant_id)
    await book.write(entry, status=HTTPStatus.CREATED, changes=differences({}, made))


@asynccontextmanager
async def entering(
    database: Database, command: str, tenant_id: TenantId | None = None
) -> AsyncIterator[Trace]:
    """Begins an entry before the work and ends it afterwards, with what the work tells of itself.
    Where it cannot be begun, nothing is done: StoreUnavailableError."""
    book, trace = PostgresAudit(database), Trace()
    entry_id = await book.begin(_entry(command, tenant_id))
    try:
        yield trace
    except FlowHQError as error:
        await end_entry(book, entry_id, of_error(error).kind.status, trace)
        raise
    await end_entry(book, entry_id, HTTPStatus.OK, trace)


def _entry(command: str, tenant_id: TenantId | None) -> NewEntry:
    return NewEntry(who(), "", "", "CLI", command, tenant_id)
