"""The people who write to a tenant: found by number, and forgotten on request."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from flowhq.db.pool import Database, Tx
from flowhq.errors import NotFoundError
from flowhq.model import TenantId

BY_NUMBER = "SELECT id FROM contacts WHERE tenant_id = $1 AND phone_number = $2"
BY_LID = "SELECT id FROM contacts WHERE tenant_id = $1 AND lid = $2"
BY_ALIAS = """
SELECT c.contact_id AS id FROM chat_aliases a
JOIN conversations c ON c.tenant_id = a.tenant_id AND c.chat_key = a.chat_key
WHERE a.tenant_id = $1 AND a.jid = $2
"""
CHATS_OF = """
SELECT id FROM conversations WHERE tenant_id = $1 AND contact_id = $2 ORDER BY created_at
"""
# Every name that the chats with a contact ever had: settled rows keep the one of their time.
KEYS_OF = """
SELECT array_remove(array_agg(DISTINCT key), NULL) FROM (
    SELECT c.chat_key AS key FROM conversations c WHERE c.tenant_id = $1 AND c.contact_id = $2
    UNION ALL
    SELECT a.jid FROM conversations c
    JOIN chat_aliases a ON a.tenant_id = c.tenant_id AND a.chat_key = c.chat_key
    WHERE c.tenant_id = $1 AND c.contact_id = $2
    UNION ALL
    SELECT unnest(ARRAY[k.lid, ltrim(k.phone_number, '+') || '@c.us']) FROM contacts k
    WHERE k.tenant_id = $1 AND k.id = $2
) AS keys
"""

# That a message came or went stays, so that the books stay right and an old message is not taken
# for a new one; who it was and what was said goes. What waits is not answered any more.
ERASE_SEEN = """
UPDATE inbox SET
    state = CASE WHEN state IN ('done', 'skipped') THEN state ELSE 'skipped' END,
    reason = CASE WHEN state IN ('done', 'skipped') THEN reason ELSE 'erased' END,
    payload = NULL, digest = NULL, error = NULL, next_at = NULL, chat_key = 'erased',
    done_at = coalesce(done_at, now())
WHERE tenant_id = $1 AND chat_key = ANY($2::text[])
"""
# Taken before every other lock: until the transaction ends, no chat is made or merged (lock_chat),
# so nobody turns out to be somebody else.
HOLD_LINKS = "SELECT pg_advisory_xact_lock(hashtextextended('chats ' || $1::uuid, 0))"
HOLD_CHATS = """
SELECT FROM conversations WHERE tenant_id = $1 AND contact_id = $2 ORDER BY id FOR UPDATE
"""
ERASE_PLANNED = """
UPDATE outbox SET
    state = CASE WHEN state IN ('planned', 'sending', 'unknown', 'dead') THEN 'cancelled'
        ELSE state END,
    reason = CASE WHEN state IN ('planned', 'sending', 'unknown', 'dead') THEN 'erased'
        ELSE reason END,
    done_at = CASE WHEN state IN ('planned', 'sending', 'unknown', 'dead') THEN now()
        ELSE done_at END,
    body = '{}', to_jid = 'erased', chat_key = 'erased', error = NULL
WHERE tenant_id = $1 AND chat_key = ANY($2::text[])
"""
ERASE_MESSAGES = """
DELETE FROM message_logs WHERE tenant_id = $1 AND conversation_id = ANY($2::uuid[])
"""
# Events speak of people by a shortened number.
ERASE_FROM_EVENTS = """
UPDATE tenant_events e SET detail = replace(e.detail, short.number, '(erased)')
FROM (
    SELECT DISTINCT short_number(key) AS number FROM unnest($2::text[]) AS key
    UNION
    SELECT short_number(phone_number) FROM contacts
    WHERE tenant_id = $1 AND id = $3 AND phone_number IS NOT NULL
) AS short
WHERE e.tenant_id = $1 AND position(short.number IN e.detail) > 0
"""
ERASE_CONTACT = "DELETE FROM contacts WHERE tenant_id = $1 AND id = $2"


@dataclass(frozen=True, slots=True)
class Person:
    """A contact with the chats, under all their names."""

    contact: UUID
    chats: Sequence[UUID]
    chat_keys: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Erased:
    """How much of a contact was stored: messages are gone, of the others the person is."""

    chats: int
    messages: int
    received: int
    planned: int


async def find_contact(tx: Tx, tenant_id: TenantId, reference: str) -> UUID | None:
    """Who has this E.164 number, or this id of the platform."""
    if "@" not in reference:
        found = await tx.fetchval(BY_NUMBER, tenant_id, reference)
    else:
        found = await tx.fetchval(BY_LID, tenant_id, reference) or await tx.fetchval(
            BY_ALIAS, tenant_id, reference
        )
    return None if found is None else UUID(str(found))


async def chats_of(tx: Tx, tenant_id: TenantId, reference: str) -> list[UUID]:
    """The chats with whom ``find_contact`` finds; none if it finds nobody."""
    contact = await find_contact(tx, tenant_id, reference)
    if contact is None:
        return []
    return [UUID(str(row["id"])) for row in await tx.fetch(CHATS_OF, tenant_id, contact)]


async def find_person(database: Database, tenant_id: TenantId, reference: str) -> Person:
    """NotFoundError if nobody of the tenant's contacts has this number."""
    async with database.tenant(tenant_id) as tx:
        return await _person(tx, tenant_id, reference)


async def erase_contact(database: Database, tenant_id: TenantId, reference: str) -> Erased:
    """Forgets a contact: messages, chats, payloads; what stays is that messages came and went.

    In one transaction, with the locks in the order of all. NotFoundError without such a contact.
    """
    async with database.tenant(tenant_id) as tx:
        await tx.execute(HOLD_LINKS, tenant_id)
        person = await _person(tx, tenant_id, reference)
        keys = list(person.chat_keys)
        received = _count(await tx.execute(ERASE_SEEN, tenant_id, keys))
        await tx.execute(HOLD_CHATS, tenant_id, person.contact)
        # Once more: what was being recorded in the chats came to be seen with their locks. A step
        # that has begun on it waits for the chat: PostgreSQL breaks it off, and it is tried again.
        received += _count(await tx.execute(ERASE_SEEN, tenant_id, keys))
        planned = _count(await tx.execute(ERASE_PLANNED, tenant_id, keys))
        messages = _count(await tx.execute(ERASE_MESSAGES, tenant_id, list(person.chats)))
        await tx.execute(ERASE_FROM_EVENTS, tenant_id, keys, person.contact)
        await tx.execute(ERASE_CONTACT, tenant_id, person.contact)
    return Erased(len(person.chats), messages, received, planned)


async def _person(tx: Tx, tenant_id: TenantId, reference: str) -> Person:
    contact = await find_contact(tx, tenant_id, reference)
    if contact is None:
        raise NotFoundError(
            "The tenant has no contact with this number.",
            next_step="GET /admin/tenants/{tenant_id}/chats shows the numbers of its contacts.",
        )
    rows = await tx.fetch(CHATS_OF, tenant_id, contact)
    keys = await tx.fetchval(KEYS_OF, tenant_id, contact)
    return Person(contact, [UUID(str(row["id"])) for row in rows], list(keys or ()))


def _count(tag: str) -> int:
    """The number of rows in a command's tag."""
    return int(tag.rpartition(" ")[2])
