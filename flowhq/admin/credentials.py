"""What the API needs of stored users, sessions and tokens; and that on PostgreSQL."""

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

from flowhq.db import adminsessions, tokens, users
from flowhq.db.adminsessions import AdminSession, NewSession, SessionPage
from flowhq.db.pool import Database
from flowhq.db.tokens import NewToken, TokenPage, TokenRow
from flowhq.db.users import NewUser, UserChanges, UserPage, UserRow


class Credentials(Protocol):
    """The stored side of signing in. StoreUnavailableError when the database is away; an unknown
    id is NotFoundError, a name in use AlreadyExistsError with the field ``name``."""

    async def create_user(self, new: NewUser) -> UserRow: ...

    async def find_user(self, name: str) -> UserRow | None: ...

    async def fetch_user(self, user_id: UUID) -> UserRow: ...

    async def list_users(self, *, limit: int, after: str | None) -> UserPage: ...

    async def update_user(
        self, user_id: UUID, changes: UserChanges, *, seen: Collection[str] | None = None
    ) -> UserRow:
        """All sessions of the user end. ChangedMeanwhileError if ``seen`` is given and the user's
        version is none of it."""
        ...

    async def begin_session(self, new: NewSession, *, instead_of: bytes | None) -> AdminSession: ...

    async def find_session(self, secret_sha256: bytes) -> AdminSession | None: ...

    async def touch_session(self, session_id: UUID) -> None: ...

    async def list_sessions(
        self, *, user_name: str | None, limit: int, after: str | None
    ) -> SessionPage: ...

    async def end_session(self, session_id: UUID, *, user_name: str | None) -> None: ...

    async def create_token(self, new: NewToken) -> TokenRow: ...

    async def find_token(self, token_id: UUID) -> TokenRow | None: ...

    async def list_tokens(self, *, limit: int, after: str | None) -> TokenPage: ...

    async def touch_token(self, token_id: UUID) -> None: ...

    async def revoke_token(self, token_id: UUID) -> TokenRow: ...


class PostgresCredentials:
    """`Credentials` on an open database, which it does not own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_user(self, new: NewUser) -> UserRow:
        return await users.create_user(self._database, new)

    async def find_user(self, name: str) -> UserRow | None:
        return await users.find_user(self._database, name)

    async def fetch_user(self, user_id: UUID) -> UserRow:
        return await users.fetch_user(self._database, user_id)

    async def list_users(self, *, limit: int, after: str | None) -> UserPage:
        return await users.list_users(self._database, limit=limit, after=after)

    async def update_user(
        self, user_id: UUID, changes: UserChanges, *, seen: Collection[str] | None = None
    ) -> UserRow:
        return await users.update_user(self._database, user_id, changes, seen=seen)

    async def begin_session(self, new: NewSession, *, instead_of: bytes | None) -> AdminSession:
        return await adminsessions.begin_session(self._database, new, instead_of=instead_of)

    async def find_session(self, secret_sha256: bytes) -> AdminSession | None:
        return await adminsessions.find_session(self._database, secret_sha256)

    async def touch_session(self, session_id: UUID) -> None:
        await adminsessions.touch_session(self._database, session_id)

    async def list_sessions(
        self, *, user_name: str | None, limit: int, after: str | None
    ) -> SessionPage:
        return await adminsessions.list_sessions(
            self._database, user_name=user_name, limit=limit, after=after
        )

    async def end_session(self, session_id: UUID, *, user_name: str | None) -> None:
        await adminsessions.end_session(self._database, session_id, user_name=user_name)

    async def create_token(self, new: NewToken) -> TokenRow:
        return await tokens.create_token(self._database, new)

    async def find_token(self, token_id: UUID) -> TokenRow | None:
        return await tokens.find_token(self._database, token_id)

    async def list_tokens(self, *, limit: int, after: str | None) -> TokenPage:
        return await tokens.list_tokens(self._database, limit=limit, after=after)

    async def touch_token(self, token_id: UUID) -> None:
        await tokens.touch_token(self._database, token_id)

    async def revoke_token(self, token_id: UUID) -> TokenRow:
        return await tokens.revoke_token(self._database, token_id)
