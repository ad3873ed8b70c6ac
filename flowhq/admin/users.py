"""Admin users: list, create, change, disable; and one's own password.

Whoever changes a user could become that user, so it takes all that the user may. Nobody disables
himself or gives himself another role: there is always one admin left.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.identities import BUILT_IN, own_name, require_reach, user_name
from flowhq.admin.inputs import Input, NoBody, NoQuery, Query, converted, optional, read_path_id
from flowhq.admin.problems import (
    ALREADY_EXISTS,
    NOT_FOUND,
    TOO_MANY_ATTEMPTS,
    WRONG_STATE,
    FieldError,
    invalid,
)
from flowhq.admin.routes import AUTHENTICATOR, Call, Route, reply
from flowhq.admin.scopes import ROLE_SCOPES, Role, Scope
from flowhq.admin.versions import etag, is_known, read_if_match
from flowhq.db.users import NewUser, UserChanges, UserRow
from flowhq.db.versions import refuse_unseen, version_at
from flowhq.errors import AlreadyExistsError, WrongStateError
from flowhq.password import MAX_CHARS, MIN_CHARS

PAGE_DEFAULT = 100
PAGE_MAX = 500

UserName = Annotated[str, StringConstraints(max_length=200), converted(user_name)]
Password = Annotated[str, StringConstraints(min_length=MIN_CHARS, max_length=MAX_CHARS)]
AnyPassword = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARS)]
OneRole = Annotated[Role, Field(strict=False)]


class CreateUser(Input):
    """A new user; ``name`` is a user name or an e-mail address, whatever its case."""

    name: UserName
    password: Password
    role: OneRole


class ChangeUser(Input):
    """What is not given stays; every session of the user ends."""

    # The defaults only stand for "not given": which fields were is asked of the model.
    password: Password = optional(default="")
    role: OneRole = optional(default=Role.VIEWER)
    disabled: bool = optional(default=False)


class ChangePassword(Input):
    """One's own: the present one shows that it is really you."""

    current_password: AnyPassword
    new_password: Password


class UsersQuery(Query):
    """``after`` is the ``next`` of the page before this one."""

    limit: int = Field(default=PAGE_DEFAULT, ge=1, le=PAGE_MAX)
    after: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None


class UserView(BaseModel):
    """One admin user; ``created_by`` is the principal that created it."""

    id: UUID
    name: str
    role: Role
    disabled_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class UserPageView(BaseModel):
    """Newest first; ``next`` goes into ``after``, null on the last page."""

    items: list[UserView]
    next: str | None


def user_view(row: UserRow) -> UserView:
    return UserView(
        id=row.user_id,
        name=row.name,
        role=Role(row.role),
        disabled_at=row.disabled_at,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def list_users(call: Call[NoBody, UsersQuery]) -> UserPageView:
    page = await call.deps.credentials.list_users(limit=call.query.limit, after=call.query.after)
    return UserPageView(items=[user_view(row) for row in page.rows], next=page.next)


async def get_user(call: Call[NoBody, NoQuery]) -> web.Response:
    answer = _answer(await call.deps.credentials.fetch_user(read_path_id(call.request, "user")))
    if not is_known(call.request, answer.headers["ETag"]):
        return answer
    return web.Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": answer.headers["ETag"]})


def _answer(row: UserRow) -> web.Response:
    """The user with its ETag."""
    view = user_view(row)
    tag = etag(version_at(row.updated_at), view.model_dump_json().encode())
    return reply(view, headers={"ETag": tag})


async def create_user(call: Call[CreateUser, NoQuery]) -> web.Response:
    body = call.body
    require_reach(call.principal, ROLE_SCOPES[body.role])
    if body.name == BUILT_IN:
        raise AlreadyExistsError("This name is taken: it stands in the settings.", field="name")
    row = await call.deps.credentials.create_user(
        NewUser(
            name=body.name,
            password_hash=await _hash(call, body.password),
            role=body.role.value,
            created_by=call.principal.name,
        )
    )
    call.changed({}, {"id": str(row.user_id)} | _shown(row))
    location = {"Location": f"/admin/users/{row.user_id}"}
    return reply(user_view(row), HTTPStatus.CREATED, location)


async def change_user(call: Call[ChangeUser, NoQuery]) -> web.Response:
    seen = read_if_match(call.request)
    given = call.body.model_fields_set
    row = await call.deps.credentials.fetch_user(read_path_id(call.request, "user"))
    if not given:
        refuse_unseen(f"User {row.user_id}", version_at(row.updated_at), seen)
        return _answer(row)
    require_reach(call.principal, ROLE_SCOPES[Role(row.role)])
    if "role" in given:
        require_reach(call.principal, ROLE_SCOPES[call.body.role])
    if own_name(call.principal) == row.name:
        _refuse_on_oneself(given)
    changes = UserChanges(
        password_hash=await _hash(call, call.body.password) if "password" in given else None,
        role=call.body.role.value if "role" in given else None,
        disabled=call.body.disabled if "disabled" in given else None,
    )
    changed = await call.deps.credentials.update_user(row.user_id, changes, seen=seen)
    call.changed(_shown(row), _shown(changed))
    if "password" in given:
        call.changed({"password": "before"}, {"password": "after"})
    return _answer(changed)


async def change_password(call: Call[ChangePassword, NoQuery]) -> web.Response:
    """The guess at the present one is slowed down like any other."""
    name = own_name(call.principal)
    if name is None or name == BUILT_IN:
        raise WrongStateError(
            "These credentials have no password to change.",
            next_step="The password of admin stands in the settings ([admin] password_hash); a "
            "token has none.",
        )
    authenticator = call.request.app[AUTHENTICATOR]
    if not await authenticator.is_password(name, call.body.current_password, call.address):
        raise invalid(FieldError("current_password", "is not right."))
    row = await call.deps.credentials.find_user(name)
    if row is not None:
        changes = UserChanges(password_hash=await _hash(call, call.body.new_password))
        await call.deps.credentials.update_user(row.user_id, changes)
        call.changed({"password": "before"}, {"password": "after"})
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _refuse_on_oneself(given: set[str]) -> None:
    if "password" in given:
        raise WrongStateError(
            "One's own password is not changed here.",
            next_step="POST /admin/password, with the present one.",
        )
    raise WrongStateError(
        "Nobody disables himself or changes his own role.", next_step="Ask another admin."
    )


async def _hash(call: Call[Any, NoQuery], password: str) -> str:
    return await call.request.app[AUTHENTICATOR].passwords.make(password)


def _shown(row: UserRow) -> dict[str, Any]:
    return {"name": row.name, "role": row.role, "disabled": row.disabled_at is not None}


ROUTES = (
    Route(
        "GET",
        "/admin/users",
        "list_users",
        "All admin users, newest first",
        list_users,
        body=NoBody,
        query=UsersQuery,
        answer=UserPageView,
        needs=Scope.ADMIN,
    ),
    Route(
        "POST",
        "/admin/users",
        "create_user",
        "Create an admin user",
        create_user,
        body=CreateUser,
        query=NoQuery,
        answer=UserView,
        needs=Scope.ADMIN,
        status=HTTPStatus.CREATED,
        problems=(ALREADY_EXISTS,),
    ),
    Route(
        "GET",
        "/admin/users/{user}",
        "get_user",
        "One admin user",
        get_user,
        body=NoBody,
        query=NoQuery,
        answer=UserView,
        needs=Scope.ADMIN,
        problems=(NOT_FOUND,),
        versioned=True,
    ),
    Route(
        "PATCH",
        "/admin/users/{user}",
        "change_user",
        "Change role or password, disable or enable; the user's sessions end",
        change_user,
        body=ChangeUser,
        query=NoQuery,
        answer=UserView,
        needs=Scope.ADMIN,
        problems=(NOT_FOUND, WRONG_STATE),
        versioned=True,
    ),
    Route(
        "POST",
        "/admin/password",
        "change_password",
        "Change one's own password; all one's sessions end",
        change_password,
        body=ChangePassword,
        query=NoQuery,
        answer=None,
        needs=Scope.STATUS_READ,
        status=HTTPStatus.NO_CONTENT,
        problems=(WRONG_STATE, TOO_MANY_ATTEMPTS),
        fleet_wide=False,
    ),
)
