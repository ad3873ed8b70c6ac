"""Users, sessions and tokens in memory, for tests of the API alone."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from flowhq.db.adminsessions import IDLE, LONGEST, AdminSession, NewSession, SessionPage
from flowhq.db.tokens import NewToken, TokenPage, TokenRow
from flowhq.db.users import NewUser, UserChanges, UserPage, UserRow
from flowhq.db.versions import refuse_unseen, version_at
from flowhq.errors import AlreadyExistsError, NotFoundError


class FakeCredentials:
    """``failure`` is raised by every call while it is set. Lists have one page."""

    def __init__(self) -> None:
        self.users: dict[UUID, UserRow] = {}
        self.sessions: dict[bytes, AdminSession] = {}
        self.tokens: dict[UUID, TokenRow] = {}
        self.failure: BaseException | None = None

    async def create_user(self, new: NewUser) -> UserRow:
        if await self.find_user(new.name) is not None:
            raise AlreadyExistsError("This name is taken.", field="name")
        now = datetime.now(UTC)
        row = UserRow(
            uuid4(), new.name, new.password_hash, new.role, None, new.created_by, now, now
        )
        self.users[row.user_id] = row
        return row

    async def find_user(self, name: str) -> UserRow | None:
        self._fail()
        return next((row for row in self.users.values() if row.name == name), None)

    async def fetch_user(self, user_id: UUID) -> UserRow:
        self._fail()
        if user_id not in self.users:
            raise NotFoundError(f"There is no user {user_id}.")
        return self.users[user_id]

    async def list_users(self, *, limit: int, after: str | None) -> UserPage:
        self._fail()
        return UserPage(list(self.users.values())[::-1][:limit], None)

    async def update_user(
        self, user_id: UUID, changes: UserChanges, *, seen: Collection[str] | None = None
    ) -> UserRow:
        row = await self.fetch_user(user_id)
        refuse_unseen(f"User {user_id}", version_at(row.updated_at), seen)
        row = replace(row, updated_at=datetime.now(UTC))
        if changes.password_hash is not None:
            row = replace(row, password_hash=changes.password_hash)
        if changes.role is not None:
            row = replace(row, role=changes.role)
        if changes.disabled is not None:
            row = replace(row, disabled_at=datetime.now(UTC) if changes.disabled else None)
        self.users[user_id] = row
        self.sessions = {s: one for s, one in self.sessions.items() if one.user_name != row.name}
        return row

    async def begin_session(self, new: NewSession, *, instead_of: bytes | None) -> AdminSession:
        self._fail()
        now = datetime.now(UTC)
        if instead_of is not None:
            self.sessions.pop(instead_of, None)
        session = AdminSession(
            uuid4(), new.user_name, new.mark, new.address, new.user_agent, now, now
        )
        self.sessions[new.secret_sha256] = session
        return session

    async def find_session(self, secret_sha256: bytes) -> AdminSession | None:
        self._fail()
        session, now = self.sessions.get(secret_sha256), datetime.now(UTC)
        if session is None or now - session.created_at >= LONGEST:
            return None
        return None if now - session.last_used_at >= IDLE else session

    async def touch_session(self, session_id: UUID) -> None:
        for secret, session in self.sessions.items():
            if session.session_id == session_id:
                self.sessions[secret] = replace(session, last_used_at=datetime.now(UTC))

    async def list_sessions(
        self, *, user_name: str | None, limit: int, after: str | None
    ) -> SessionPage:
        self._fail()
        rows = [s for s in self.sessions.values() if user_name in (None, s.user_name)]
        return SessionPage(rows[::-1][:limit], None)

    async def end_session(self, session_id: UUID, *, user_name: str | None) -> None:
        self._fail()
        for secret, session in list(self.sessions.items()):
            if session.session_id == session_id and user_name in (None, session.user_name):
                del self.sessions[secret]
                return
        raise NotFoundError(f"There is no session {session_id}.")

    async def create_token(self, new: NewToken) -> TokenRow:
        self._fail()
        row = TokenRow(
            token_id=new.token_id,
            name=new.name,
            secret_sha256=new.secret_sha256,
            scopes=new.scopes,
            tenants=new.tenants,
            created_by=new.created_by,
            created_at=datetime.now(UTC),
            expires_at=new.expires_at,
            last_used_at=None,
            revoked_at=None,
            expired=False,
        )
        self.tokens[row.token_id] = row
        return row

    async def find_token(self, token_id: UUID) -> TokenRow | None:
        self._fail()
        row = self.tokens.get(token_id)
        if row is None:
            return None
        expired = row.expires_at is not None and row.expires_at <= _now()
        return replace(row, expired=expired, maker_disabled=self._maker_disabled(row))

    async def list_tokens(self, *, limit: int, after: str | None) -> TokenPage:
        self._fail()
        return TokenPage(list(self.tokens.values())[::-1][:limit], None)

    async def touch_token(self, token_id: UUID) -> None:
        self.tokens[token_id] = replace(self.tokens[token_id], last_used_at=_now())

    async def revoke_token(self, token_id: UUID) -> TokenRow:
        self._fail()
        if token_id not in self.tokens:
            raise NotFoundError(f"There is no token {token_id}.")
        row = self.tokens[token_id]
        self.tokens[token_id] = replace(row, revoked_at=row.revoked_at or _now())
        return self.tokens[token_id]

    def _maker_disabled(self, row: TokenRow) -> bool:
        kind, _, name = row.created_by.partition(":")
        if kind == "token":
            return self._maker_disabled(self.tokens[UUID(name)])
        named = [user for user in self.users.values() if (kind, user.name) == ("user", name)]
        return any(user.disabled_at is not None for user in named)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def _now() -> datetime:
    return datetime.now(UTC)
