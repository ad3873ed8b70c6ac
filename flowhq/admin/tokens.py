"""Tokens of programs: create (shown once), list, revoke."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID, uuid4

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, StringConstraints

from flowhq.admin.cookies import digest, new_secret
from flowhq.admin.identities import require_reach, token_text
from flowhq.admin.inputs import Input, Name, NoBody, NoQuery, Query, read_path_id
from flowhq.admin.problems import NOT_FOUND, FieldError, invalid
from flowhq.admin.routes import Call, Route, reply
from flowhq.admin.scopes import Scope
from flowhq.db.tokens import NewToken, TokenRow
from flowhq.model import TenantId

PAGE_DEFAULT = 100
PAGE_MAX = 500
TENANTS_MAX = 1000


def _only_text(value: Any) -> Any:
    """A number would be read as seconds since 1970, which the description does not offer."""
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a date and time with a time zone, as text")
    return value


OneScope = Annotated[Scope, Field(strict=False)]
# In strict models an id would only be taken as a UUID, which JSON does not have.
OneTenant = Annotated[UUID, Field(strict=False)]
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_only_text)]


class CreateToken(Input):
    """``tenants`` null reaches all, ``expires_at`` null never ends; ``name`` says what it is
    for."""

    name: Name
    scopes: Annotated[list[OneScope], Field(min_length=1, max_length=len(Scope))]
    tenants: Annotated[list[OneTenant], Field(min_length=1, max_length=TENANTS_MAX)] | None = None
    expires_at: Moment | None = None


class TokensQuery(Query):
    """``after`` is the ``next`` of the page before this one."""

    limit: int = Field(default=PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class TokenView(BaseModel):
    """One token without its secret. ``tenants`` null are all; ``last_used_at`` is exact to a
    minute."""

    id: UUID
    name: str
    scopes: list[str]
    tenants: list[UUID] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewTokenView(TokenView):
    """A token just made; ``token`` is shown this once."""

    token: str


class TokenPageView(BaseModel):
    """Newest first, those that ended too; ``next`` goes into ``after``, null on the last page."""

    items: list[TokenView]
    next: str | None


def make_token(
    name: str,
    scopes: Sequence[Scope],
    tenants: Sequence[UUID] | None,
    expires_at: datetime | None,
    created_by: str,
) -> tuple[NewToken, str]:
    """What is stored of a new token, and its text."""
    secret, token_id = new_secret(), uuid4()
    new = NewToken(
        token_id=token_id,
        name=name,
        secret_sha256=digest(secret),
        scopes=sorted({scope.value for scope in scopes}),
        tenants=None if tenants is None else sorted({TenantId(one) for one in tenants}),
        created_by=created_by,
        expires_at=expires_at,
    )
    return new, token_text(token_id, secret)


async def create_token(call: Call[CreateToken, NoQuery]) -> web.Response:
    body = call.body
    tenants = None if body.tenants is None else [TenantId(one) for one in body.tenants]
    if Scope.PORTAL in body.scopes:
        raise invalid(FieldError("scopes", "portal is of portal keys alone."))
    require_reach(call.principal, body.scopes, tenants)
    if body.expires_at is not None and body.expires_at <= call.deps.clock.now():
        raise invalid(FieldError("expires_at", "must be in the future."))
    for tenant_id in tenants or ():
        await call.deps.store.fetch_tenant(tenant_id)
    new, text = make_token(
        body.name, body.scopes, body.tenants, body.expires_at, call.principal.name
    )
    row = await call.deps.credentials.create_token(new)
    view = NewTokenView(token=text, **_fields(row))
    call.changed({}, view.model_dump(mode="json", include=_SHOWN))
    return reply(view, HTTPStatus.CREATED)


async def list_tokens(call: Call[NoBody, TokensQuery]) -> TokenPageView:
    page = await call.deps.credentials.list_tokens(limit=call.query.limit, after=call.query.after)
    items = [TokenView(**_fields(row)) for row in page.rows]
    return TokenPageView(items=items, next=page.next)


async def revoke_token(call: Call[NoBody, NoQuery]) -> TokenView:
    row = await call.deps.credentials.revoke_token(read_path_id(call.request, "token"))
    call.changed({"revoked": False}, {"revoked": True})
    return TokenView(**_fields(row))


# What the audit tells of a new token.
_SHOWN = {"id", "name", "scopes", "tenants", "expires_at"}


def _fields(row: TokenRow) -> dict[str, Any]:
    return {
        "id": row.token_id,
        "name": row.name,
        "scopes": list(row.scopes),
        "tenants": None if row.tenants is None else list(row.tenants),
        "created_by": row.created_by,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }


ROUTES = (
    Route(
        "GET",
        "/admin/tokens",
        "list_tokens",
        "All tokens, newest first, without their secrets",
        list_tokens,
        body=NoBody,
        query=TokensQuery,
        answer=TokenPageView,
        needs=Scope.ADMIN,
    ),
    Route(
        "POST",
        "/admin/tokens",
        "create_token",
        "Create a token; it is shown this once",
        create_token,
        body=CreateToken,
        query=NoQuery,
        answer=NewTokenView,
        needs=Scope.ADMIN,
        answer_kept=False,
        status=HTTPStatus.CREATED,
        problems=(NOT_FOUND,),
    ),
    Route(
        "DELETE",
        "/admin/tokens/{token}",
        "revoke_token",
        "Revoke a token: it is refused from now on, and stays in the list",
        revoke_token,
        body=NoBody,
        query=NoQuery,
        answer=TokenView,
        needs=Scope.ADMIN,
        problems=(NOT_FOUND,),
    ),
)
