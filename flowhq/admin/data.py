"""What is stored of a tenant or of one contact: handed out as a file, or erased for good.

An export is JSON lines: a head, a row a line with the name of its table, and an end with the
number of rows; without the end it was cut off. It holds everything but secrets. A contact is named
in the body, never in the address.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, StringConstraints

from flowhq.admin.inputs import NAME_MAX, Input, NoBody, NoQuery, converted
from flowhq.admin.phone import to_contact
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.portable import ExportedRow
from flowhq.errors import InvalidInputError, StoreError
from flowhq.model import SessionState

MEDIA = "application/x-ndjson"
FORMAT = 1
CHUNK_BYTES = 64 * 1024
# A client that takes no byte for so long has gone, or holds the export for nothing.
WRITE_LIMIT_S = 30

log = structlog.get_logger(__name__)

Contact = Annotated[str, StringConstraints(max_length=80), converted(to_contact)]


class ContactExport(Input):
    """``number`` as the log shows it: with country code, or the id of an unknown number."""

    number: Contact


class ContactErasure(Input):
    """``confirm`` is the same number once more."""

    number: Contact
    confirm: Contact


class TenantErasure(Input):
    """``confirm`` is the tenant's name, to the letter."""

    confirm: Annotated[str, StringConstraints(max_length=NAME_MAX)]


class TenantErasedView(BaseModel):
    """``rows`` that were deleted, by table. ``unlinked``: the phone was told to forget the device;
    if false and it was paired once, remove it on the phone."""

    tenant_id: UUID
    rows: dict[str, int]
    unlinked: bool
    erased_at: datetime


class ContactErasedView(BaseModel):
    """``chats`` and ``messages`` are gone; of what was ``received`` and ``planned``, only that it
    was remains."""

    tenant_id: UUID
    chats: int
    messages: int
    received: int
    planned: int
    erased_at: datetime


async def export_tenant(call: Call[NoBody, NoQuery]) -> web.StreamResponse:
    await call.deps.store.fetch_tenant(call.tenant_id)
    return await _send(call, "tenant", call.deps.store.read_tenant(call.tenant_id))


async def export_contact(call: Call[ContactExport, NoQuery]) -> web.StreamResponse:
    person = await call.deps.store.find_person(call.tenant_id, call.body.number)
    return await _send(call, "contact", call.deps.store.read_contact(call.tenant_id, person))


async def erase_tenant(call: Call[TenantErasure, NoQuery]) -> TenantErasedView:
    """Profile first, rows last: what fails half-way can be asked for again."""
    row = await call.deps.store.fetch_tenant(call.tenant_id)
    if call.body.confirm != row.name:
        raise InvalidInputError("must be the tenant's name, to the letter.", field="confirm")
    seen = call.deps.fleet.snapshot(call.tenant_id)
    connected = seen is not None and seen.session is SessionState.CONNECTED
    rows: dict[str, int] = {}

    async def delete() -> None:
        rows.update(await call.deps.store.erase_tenant(call.tenant_id))

    await call.deps.fleet.forget(call.tenant_id, delete)
    call.changed({"rows": rows}, {})
    return TenantErasedView(
        tenant_id=call.tenant_id, rows=rows, unlinked=connected, erased_at=call.deps.clock.now()
    )


async def erase_contact(call: Call[ContactErasure, NoQuery]) -> ContactErasedView:
    if call.body.confirm != call.body.number:
        raise InvalidInputError("must be the same number once more.", field="confirm")
    erased = await call.deps.store.erase_contact(call.tenant_id, call.body.number)
    call.changed({"messages": erased.messages}, {})
    return ContactErasedView(
        tenant_id=call.tenant_id,
        chats=erased.chats,
        messages=erased.messages,
        received=erased.received,
        planned=erased.planned,
        erased_at=call.deps.clock.now(),
    )


async def _send(
    call: Call[Any, NoQuery], about: str, rows: AsyncIterator[ExportedRow]
) -> web.StreamResponse:
    """The rows as a file, as fast as the client takes them. What breaks it off leaves it without
    its end."""
    response = web.StreamResponse(
        headers={
            "Content-Type": MEDIA,
            "Content-Disposition": f'attachment; filename="{about}-{call.tenant_id}.jsonl"',
        }
    )
    if call.request.method == "HEAD":
        return response
    await response.prepare(call.request)
    try:
        async for chunk in _chunks(call, about, rows):
            async with asyncio.timeout(WRITE_LIMIT_S):
                await response.write(chunk)
        async with asyncio.timeout(WRITE_LIMIT_S):
            await response.write_eof()
    except (StoreError, TimeoutError, ConnectionError) as error:
        log.warning("export broken off", about=about, why=type(error).__name__)
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


async def _chunks(
    call: Call[Any, NoQuery], about: str, rows: AsyncIterator[ExportedRow]
) -> AsyncIterator[bytes]:
    """The lines, some at a time."""
    head = {
        "type": "flowhq-export",
        "format": FORMAT,
        "about": about,
        "tenant_id": str(call.tenant_id),
        "version": call.deps.version,
        "exported_at": call.deps.clock.now(),
    }
    lines = bytearray(_line(head))
    count = 0
    async for row in rows:
        lines += _line({"type": "row", "table": row.table, "row": row.row})
        count += 1
        if len(lines) >= CHUNK_BYTES:
            yield bytes(lines)
            lines.clear()
    yield bytes(lines + _line({"type": "end", "rows": count}))


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


ROUTES = (
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/export",
        "export_tenant",
        "Everything stored about the tenant but its secrets, as JSON lines",
        export_tenant,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.DATA_EXPORT,
        media=(MEDIA,),
        entered=True,
    ),
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/erase",
        "erase_tenant",
        "Unlink the phone, forget the profile, delete every row and log of the tenant",
        erase_tenant,
        body=TenantErasure,
        query=NoQuery,
        answer=TenantErasedView,
        needs=Scope.DATA_ERASE,
        repeatable=True,
    ),
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/contacts/export",
        "export_contact",
        "Everything stored about one contact of the tenant, as JSON lines",
        export_contact,
        body=ContactExport,
        query=NoQuery,
        answer=None,
        needs=Scope.DATA_EXPORT,
        media=(MEDIA,),
        reads_only=True,
    ),
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/contacts/erase",
        "erase_contact",
        "Forget a contact: messages, chats and payloads; counts stay, without the person",
        erase_contact,
        body=ContactErasure,
        query=NoQuery,
        answer=ContactErasedView,
        needs=Scope.DATA_ERASE,
        status=HTTPStatus.OK,
        repeatable=True,
    ),
)
