"""The installation's own secret, from which each tenant's key is derived.

It lives in the database, so that a restored backup goes on with the same message ids. Only the
owner's connection may read it: the application's role has no right to the table.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from flowhq.db.faults import translated
from flowhq.db.owner import owner_connection
from flowhq.errors import StoreRefusedError
from flowhq.model import TenantId

SECRET_BYTES = 32

INSERT_ONCE = "INSERT INTO installation (secret) VALUES ($1) ON CONFLICT DO NOTHING"
READ_ROW = "SELECT id, secret FROM installation"


@dataclass(frozen=True, slots=True)
class Installation:
    """Which installation this is. The secret never shows in a repr."""

    installation_id: UUID
    secret: bytes = field(repr=False)

    def tenant_key(self, tenant_id: TenantId) -> bytes:
        """32 bytes, the same for ever for this tenant: the key of its message ids."""
        return hmac.new(self.secret, b"tenant " + tenant_id.bytes, hashlib.sha256).digest()


async def load_installation(url: str) -> Installation:
    """The secret of this database, made at the first call. ``url`` is the owner's."""
    async with owner_connection(url) as connection:
        with translated():
            await connection.execute(INSERT_ONCE, secrets.token_bytes(SECRET_BYTES))
            row = await connection.fetchrow(READ_ROW)
    if row is None:
        raise StoreRefusedError("The database holds no installation secret and takes none.")
    return Installation(installation_id=UUID(str(row["id"])), secret=bytes(row["secret"]))
