"""The code to scan: as JSON with a picture in it, as a picture, or as the text of the code.

With ``wait`` the request stays open until there is something to tell: a code, or a connection.
The database has the code, the fleet says when to look again; the look is repeated every second
anyway, because a new code does not always come with a new state.
"""

import asyncio
import base64
import binascii
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from flowhq.admin.inputs import NoBody, Query
from flowhq.admin.polling import CLOSING, wait_or_close
from flowhq.admin.problems import MISCONFIGURED, WRONG_STATE
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.bot.lifecycle import NEXT_ACTION
from flowhq.db.sessions import SessionRow
from flowhq.errors import WrongStateError
from flowhq.model import Reason, SessionState

WAIT_MAX_S = 60
LOOK_AGAIN_S = 1.0
# The time of expiry is an estimate of ours: a code that may still be on show is told.
EXPIRY_GRACE = timedelta(seconds=5)
_PNG_DATA_URL = "data:image/png;base64,"


class QrFormat(StrEnum):
    JSON = "json"
    PNG = "png"
    RAW = "raw"


class QrQuery(Query):
    """``wait``: seconds to wait for a code or a connection. ``format`` goes before Accept."""

    wait: float = Field(default=0, ge=0, le=WAIT_MAX_S, allow_inf_nan=False)
    format: QrFormat | None = None


class QrView(BaseModel):
    """``qr`` is a PNG as a data URL, null when no code is on show; ``next_action`` says why."""

    state: SessionState
    qr: str | None
    expires_at: datetime | None
    reason: Reason
    next_action: str


QrCall = Call[NoBody, QrQuery]


async def get_qr(call: QrCall) -> web.Response:
    """The present code; 409 instead of a picture or text that does not exist."""
    session = await _wait_for_code(call)
    match _format(call):
        case QrFormat.JSON:
            return reply(await _view(call, session), headers={"Vary": "Accept"})
        case QrFormat.PNG:
            picture = _picture(session.last_qr)
            if picture is None:
                raise await _no_code(call)
            return web.Response(body=picture, content_type="image/png", headers={"Vary": "Accept"})
        case QrFormat.RAW:
            if session.last_qr_text is None:
                raise await _no_code(call)
            return web.Response(text=session.last_qr_text, content_type="text/plain")


async def _wait_for_code(call: QrCall) -> SessionRow:
    clock = call.deps.clock
    deadline = clock.monotonic() + call.query.wait
    while True:
        session = await present_session(call)
        left_s = deadline - clock.monotonic()
        if session.last_qr is not None or session.state is SessionState.CONNECTED:
            return session
        if left_s <= 0 or _gone(call.request):
            return session
        if not await _news(call, min(left_s, LOOK_AGAIN_S)):
            return session


async def present_session(call: Call[Any, Any]) -> SessionRow:
    """What is stored, without a code that is no longer on show."""
    stored = await call.deps.store.fetch_session(call.tenant_id)
    expires_at = stored.last_qr_expires_at
    expired = expires_at is not None and call.deps.clock.now() > expires_at + EXPIRY_GRACE
    if stored.state is SessionState.QR_READY and not expired:
        return stored
    return replace(stored, last_qr=None, last_qr_text=None, last_qr_expires_at=None)


async def _news(call: QrCall, seconds: float) -> bool:
    """Waits for a change of the tenant, ``seconds`` at most; False when the server closes."""
    if call.deps.fleet.snapshot(call.tenant_id) is None:
        return await wait_or_close(call.request.app[CLOSING], asyncio.sleep(seconds))
    return await wait_or_close(
        call.request.app[CLOSING], call.deps.fleet.changed(call.tenant_id, seconds)
    )


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _view(call: QrCall, session: SessionRow) -> QrView:
    snapshot = call.deps.fleet.snapshot(call.tenant_id)
    if snapshot is not None:
        reason, next_action = snapshot.reason, snapshot.next_action
    else:
        stored = await call.deps.store.fetch_tenant(call.tenant_id)
        reason, next_action = stored.reason, NEXT_ACTION[stored.reason]
    return QrView(
        state=session.state,
        qr=session.last_qr,
        expires_at=session.last_qr_expires_at,
        reason=reason,
        next_action=next_action,
    )


async def _no_code(call: QrCall) -> WrongStateError:
    view = await _view(call, await present_session(call))
    return WrongStateError(
        f"No code is on show: the session is {view.state} ({view.reason}).",
        next_step=view.next_action,
    )


def _format(call: QrCall) -> QrFormat:
    if call.query.format is not None:
        return call.query.format
    accepted = [
        part.partition(";")[0].strip().lower()
        for part in call.request.headers.get("Accept", "").split(",")
    ]
    wants_picture = "image/png" in accepted or "image/*" in accepted
    return QrFormat.PNG if wants_picture and "application/json" not in accepted else QrFormat.JSON


def _picture(data_url: str | None) -> bytes | None:
    if data_url is None or not data_url.startswith(_PNG_DATA_URL):
        return None
    try:
        return base64.b64decode(data_url.removeprefix(_PNG_DATA_URL), validate=True)
    except binascii.Error:
        return None


ROUTES = (
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/qr",
        "get_qr",
        "The code to scan",
        get_qr,
        body=NoBody,
        query=QrQuery,
        answer=QrView,
        needs=Scope.TENANTS_OPERATE,
        problems=(WRONG_STATE, MISCONFIGURED),
        media=("application/json", "image/png", "text/plain"),
    ),
)
