"""Idempotency keys: what was asked under which key, whether it is done, and what was answered.

The table belongs to the installation. Neither keys nor bodies are stored: of a key its digest, of
a body a digest that the key itself salts, so that a password in a body cannot be guessed from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from asyncpg import Record

from flowhq.db.pool import Database
from flowhq.model import TenantId

LIFETIME = timedelta(hours=24)

# One winner takes the key: a new one, or one that is over. Everybody else reads what there is.
CLAIM_KEY = """
INSERT INTO idempotency_keys AS k (principal, route, key_digest, body_digest, about)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO UPDATE SET
    body_digest = excluded.body_digest, about = excluded.about, created_at = now(),
    done_at = NULL, status = NULL, headers = '{}', answer = NULL
WHERE k.created_at <= now() - $6::interval
RETURNING true
"""
READ_KEY = """
SELECT body_digest, status, headers, answer FROM idempotency_keys
WHERE principal = $1 AND route = $2 AND key_digest = $3
"""
SETTLE_KEY = """
UPDATE idempotency_keys
SET done_at = now(), status = $4, headers = $5, answer = $6, about = coalesce($7, about)
WHERE principal = $1 AND route = $2 AND key_digest = $3
"""
RELEASE_KEY = """
DELETE FROM idempotency_keys WHERE principal = $1 AND route = $2 AND key_digest = $3
"""
# What was answered about a tenant or its contacts goes with them; that it was done stays known.
FORGET_ANSWERS = "UPDATE idempotency_keys SET headers = '{}', answer = NULL WHERE about = $1"
DROP_OLD_KEYS = "DELETE FROM idempotency_keys WHERE created_at <= now() - $1::interval"


@dataclass(frozen=True, slots=True)
class KeyName:
    """Whose key, of which operation; ``digest`` is the key's SHA-256."""

    principal: str
    route: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered; ``body`` None if it is not kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that was used before; ``answer`` None while there is none."""

    body_digest: bytes = field(repr=False)
    answer: StoredAnswer | None


async def claim_key(
    database: Database, name: KeyName, body_digest: bytes, tenant_id: TenantId | None
) -> KnownKey | None:
    """None: the key is the caller's now, to be settled or released. Else what is known of it."""
    async with database.installation() as tx:
        claimed = await tx.fetchval(
            CLAIM_KEY, name.principal, name.route, name.digest, body_digest, tenant_id, LIFETIME
        )
        if claimed:
            return None
        row = await tx.fetchrow(READ_KEY, name.principal, name.route, name.digest)
    # Released between the two statements: as good as in progress, the client asks again.
    return KnownKey(body_digest, None) if row is None else _known(row)


async def settle_key(
    database: Database, name: KeyName, answer: StoredAnswer, tenant_id: UUID | None
) -> None:
    """It is done, and this was the answer; ``tenant_id`` is whom it is about."""
    async with database.installation() as tx:
        await tx.execute(
            SETTLE_KEY,
            name.principal,
            name.route,
            name.digest,
            answer.status,
            dict(answer.headers),
            answer.body,
            tenant_id,
        )


async def release_key(database: Database, name: KeyName) -> None:
    """Nothing was done under it: it is as new."""
    async with database.installation() as tx:
        await tx.execute(RELEASE_KEY, name.principal, name.route, name.digest)


async def forget_answers(database: Database, tenant_id: TenantId) -> None:
    """No answer about this tenant is kept any longer."""
    async with database.installation() as tx:
        await tx.execute(FORGET_ANSWERS, tenant_id)


async def drop_old_keys(database: Database) -> None:
    """Those older than LIFETIME."""
    async with database.installation() as tx:
        await tx.execute(DROP_OLD_KEYS, LIFETIME)


def _known(row: Record) -> KnownKey:
    if row["status"] is None:
        return KnownKey(row["body_digest"], None)
    return KnownKey(row["body_digest"], StoredAnswer(row["status"], row["headers"], row["answer"]))
