"""The keys of portals: made, listed, retired. The secret is shown once, when it is made."""

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel

from flowhq.admin.inputs import Input, Name, NoBody, NoQuery, read_path_id
from flowhq.admin.problems import NOT_FOUND, WRONG_STATE
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.db.portalkeys import PortalKey


class CreatePortalKey(Input):
    """``name`` says which portal holds it."""

    name: Name


class PortalKeyView(BaseModel):
    """A key without its secret; ``retired_at`` is null while it lives."""

    id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None
    retired_at: datetime | None


class NewPortalKeyView(PortalKeyView):
    """``key`` is what the portal sends; it is not stored and not shown again."""

    key: str


class PortalKeysView(BaseModel):
    """The newest 100, newest first."""

    items: list[PortalKeyView]


async def create_key(call: Call[CreatePortalKey, NoQuery]) -> web.Response:
    made = await call.deps.portal.create_key(call.body.name)
    call.changed({}, {"id": str(made.key.key_id), "name": made.key.name})
    view = NewPortalKeyView(**_view(made.key).model_dump(), key=made.secret)
    return reply(view, HTTPStatus.CREATED)


async def list_keys(call: Call[NoBody, NoQuery]) -> PortalKeysView:
    return PortalKeysView(items=[_view(key) for key in await call.deps.portal.list_keys()])


async def retire_key(call: Call[NoBody, NoQuery]) -> PortalKeyView:
    key = await call.deps.portal.retire_key(read_path_id(call.request, "portal_key"))
    call.changed({"retired": False}, {"retired": True})
    return _view(key)


def _view(key: PortalKey) -> PortalKeyView:
    return PortalKeyView(
        id=key.key_id,
        name=key.name,
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        retired_at=key.retired_at,
    )


ROUTES = (
    Route(
        "POST",
        "/admin/portal-keys",
        "create_portal_key",
        "A key for a portal, shown once; two can be alive",
        create_key,
        body=CreatePortalKey,
        query=NoQuery,
        answer=NewPortalKeyView,
        needs=Scope.ADMIN,
        answer_kept=False,
        status=HTTPStatus.CREATED,
        problems=(WRONG_STATE,),
    ),
    Route(
        "GET",
        "/admin/portal-keys",
        "list_portal_keys",
        "The keys of portals, without their secrets",
        list_keys,
        body=NoBody,
        query=NoQuery,
        answer=PortalKeysView,
        needs=Scope.ADMIN,
    ),
    Route(
        "POST",
        "/admin/portal-keys/{portal_key}/retire",
        "retire_portal_key",
        "Refuse this key from now on",
        retire_key,
        body=NoBody,
        query=NoQuery,
        answer=PortalKeyView,
        needs=Scope.ADMIN,
        problems=(NOT_FOUND,),
    ),
)
