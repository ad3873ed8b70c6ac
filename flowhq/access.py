"""Users and tokens from the command line, whether the daemon runs or not.

Who may read the database may do this: it is the way in when nobody can sign in any more. Each one
is entered in the audit under the name of the operating system's user.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from flowhq.admin.identities import BUILT_IN, user_name
from flowhq.admin.scopes import Role, Scope
from flowhq.admin.terminal import enter, who
from flowhq.admin.tokens import make_token
from flowhq.clock import SystemClock
from flowhq.config import Config
from flowhq.daemon import reach_database
from flowhq.db import tenants, tokens, users
from flowhq.db.migrate import migrate
from flowhq.db.pool import Database
from flowhq.errors import AlreadyExistsError, InvalidInputError
from flowhq.model import TenantId
from flowhq.password import hash_password


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """What a token is to be; ``tenants`` empty reaches all, ``days`` None never ends."""

    name: str
    scopes: Sequence[Scope]
    tenants: Sequence[UUID] = ()
    days: int | None = None


async def create_admin(config: Config, name: str, role: Role, password: str) -> str:
    """The new user's name as it is stored. InvalidInputError, AlreadyExistsError."""
    stored, hashed = user_name(name), hash_password(password)
    if stored == BUILT_IN:
        raise AlreadyExistsError(
            f"The user {BUILT_IN} stands in the settings.",
            field="name",
            next_step="Take another name, or change [admin] password_hash.",
        )
    async with _database(config) as database:
        row = await users.create_user(database, users.NewUser(stored, hashed, role.value, who()))
        told = {"id": str(row.user_id), "name": row.name, "role": row.role}
        await enter(database, "create_user", told)
    return row.name


async def create_token(config: Config, order: TokenOrder) -> str:
    """The new token, which nobody can read again. InvalidInputError, NotFoundError (a tenant)."""
    if not order.name.strip() or not order.scopes:
        raise InvalidInputError("A token has a name and at least one scope.", field="name")
    lasts = None if order.days is None else timedelta(days=order.days)
    new, text = make_token(
        order.name.strip(),
        order.scopes,
        order.tenants or None,
        None if lasts is None else SystemClock().now() + lasts,
        who(),
    )
    async with _database(config) as database:
        for tenant_id in order.tenants:
            await tenants.fetch_tenant(database, TenantId(tenant_id))
        row = await tokens.create_token(database, new)
        told = {"id": str(row.token_id), "name": row.name, "scopes": list(row.scopes)}
        await enter(database, "create_token", told)
    return text


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[Database]:
    """The database at this version's schema: the running one, or one started for this."""
    async with AsyncExitStack() as stack:
        url, _ = await reach_database(config, stack)
        await migrate(url)
        yield await stack.enter_async_context(Database(url, min_size=1, max_size=2))
