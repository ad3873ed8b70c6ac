"""Browsers of owners that are signed in. Limits are read by the database's clock."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from flowhq.db.adminsessions import IDLE, LONGEST
from flowhq.db.pool import Database
from flowhq.db.portal import PortalEvent, PortalUser, note_in, user_of
from flowhq.db.scopedtokens import digest, new_token, tenant_of

DELETE_DEAD = """
DELETE FROM portal_sessions WHERE tenant_id = $1
    AND (created_at <= now() - $2::interval OR last_used_at <= now() - $3::interval)
"""

INSERT_SESSION = """
INSERT INTO portal_sessions (tenant_id, user_id, secret_sha256) VALUES ($1, $2, $3)
"""

# The use is written down once a minute at most.
FIND_SESSION = """
WITH found AS (
    SELECT id, user_id, created_at, last_used_at FROM portal_sessions
    WHERE tenant_id = $1 AND secret_sha256 = $2
        AND created_at > now() - $3::interval AND last_used_at > now() - $4::interval
), touched AS (
    UPDATE portal_sessions s SET last_used_at = now() FROM found f
    WHERE s.tenant_id = $1 AND s.id = f.id AND f.last_used_at < now() - interval '1 minute'
)
SELECT f.id AS session_id, f.created_at AS began_at, u.id, u.tenant_id, u.email, u.name, u.phone,
    u.role::text AS role, u.created_at
FROM found f JOIN portal_users u ON u.tenant_id = $1 AND u.id = f.user_id
"""

DELETE_SESSION = "DELETE FROM portal_sessions WHERE tenant_id = $1 AND id = $2"


@dataclass(frozen=True, slots=True)
class PortalSession:
    """One that has not ended, and whose it is."""

    session_id: UUID
    user: PortalUser = field(repr=False)
    began_at: datetime

    @property
    def expires_at(self) -> datetime:
        """When it ends if it is used without a pause."""
        return self.began_at + LONGEST


async def begin_session(database: Database, user: PortalUser) -> str:
    """The secret for the cookie; the tenant's dead sessions are gone."""
    secret = new_token(user.tenant_id)
    async with database.tenant(user.tenant_id) as tx:
        await tx.execute(DELETE_DEAD, user.tenant_id, LONGEST, IDLE)
        await tx.execute(INSERT_SESSION, user.tenant_id, user.user_id, digest(secret))
    return secret


async def find_session(database: Database, secret: str) -> PortalSession | None:
    """None once it ended, by time or otherwise."""
    tenant_id = tenant_of(secret)
    if tenant_id is None:
        return None
    async with database.tenant(tenant_id) as tx:
        row = await tx.fetchrow(FIND_SESSION, tenant_id, digest(secret), LONGEST, IDLE)
    if row is None:
        return None
    return PortalSession(row["session_id"], user_of(row), row["began_at"])


async def end_session(database: Database, session: PortalSession) -> None:
    """Signed out; ending it again changes nothing."""
    user = session.user
    async with database.tenant(user.tenant_id) as tx:
        await tx.execute(DELETE_SESSION, user.tenant_id, session.session_id)
        await note_in(tx, user, PortalEvent.SIGNED_OUT)
