"""The pairing of a tenant: its code while one is shown, its number once it is paired.

Functions on an open transaction of one tenant, except ``fetch_session``. The session's state
belongs to ``db/states.py``.
"""

from dataclasses import dataclass, field
from datetime import datetime

import structlog
from asyncpg import Record

from flowhq.db import datakeys, inbox, outbox
from flowhq.db.cleaning import clean_text
from flowhq.db.pool import Database, Tx
from flowhq.errors import NotFoundError
from flowhq.model import ChatEvent, SessionState, TenantId

log = structlog.get_logger(__name__)

# Why a message was skipped or taken back: the tenant speaks from another number now.
NUMBER_CHANGED = "number_changed"

# The sealed places of a code: the picture, and what it encodes.
PICTURE = "whatsapp_sessions.last_qr"
TEXT = "whatsapp_sessions.last_qr_text"

SAVE_QR = """
UPDATE whatsapp_sessions SET last_qr = $2, last_qr_text = $3, last_qr_expires_at = $4
WHERE tenant_id = $1
"""

# The number itself tells whether it is another one; the LID only where the number is not known.
# Another one is another pairing, though nobody unlinked the old one. What a page does not tell is
# kept as it was known: the next pairing is compared with it.
SAVE_IDENTITY = """
WITH before AS (
    SELECT own_jid, coalesce(own_jid <> $2, own_lid <> $3, false) AS changed
    FROM whatsapp_sessions WHERE tenant_id = $1
), saved AS (
    UPDATE whatsapp_sessions s SET
        own_jid = CASE WHEN b.changed THEN $2 ELSE coalesce($2, s.own_jid) END,
        own_lid = CASE WHEN b.changed THEN $3 ELSE coalesce($3, s.own_lid) END,
        paired_at = CASE WHEN b.changed THEN now() ELSE coalesce(s.paired_at, now()) END,
        caught_up_to = CASE WHEN s.paired_at IS NOT NULL AND NOT b.changed THEN s.caught_up_to END,
        last_qr = NULL, last_qr_text = NULL, last_qr_expires_at = NULL
    FROM before b WHERE s.tenant_id = $1
    RETURNING s.paired_at
)
SELECT s.paired_at, b.changed, b.own_jid FROM saved s, before b
"""

TELL_CHANGE = """
SELECT raise_event($1, $2, 'daemon', format(
    'Paired with %s, not with %s as before: what waited to be answered or sent is taken back.',
    short_number($3), short_number($4)
))
"""

# The number stays, to be compared with that of the next pairing.
FORGET_PAIRING = """
UPDATE whatsapp_sessions SET
    paired_at = NULL,
    last_qr = NULL, last_qr_text = NULL, last_qr_expires_at = NULL
WHERE tenant_id = $1
"""

# The proof also counts: the time connected goes on to now. Cursors stand in the platform's time,
# and so does what they add up to.
TOUCH = """
WITH seen AS (
    UPDATE whatsapp_sessions SET
        last_seen_at = now(),
        caught_up_to = CASE WHEN $2 THEN coalesce(
            (SELECT max(last_timestamp) FROM chat_cursors WHERE tenant_id = $1), caught_up_to
        ) ELSE caught_up_to END
    WHERE tenant_id = $1 RETURNING state
), counted AS (
    UPDATE tenant_spans SET until_at = now()
    WHERE (SELECT state FROM seen) = 'CONNECTED' AND tenant_id = $1 AND id = (
        SELECT id FROM tenant_spans WHERE tenant_id = $1 AND kind = 'connected'
        ORDER BY began_at DESC LIMIT 1
    )
)
SELECT now() FROM seen
"""

CAUGHT_UP_TO = "SELECT caught_up_to FROM whatsapp_sessions WHERE tenant_id = $1"

FETCH_SESSION = """
SELECT state::text AS state, last_qr, last_qr_text, last_qr_expires_at, last_seen_at, paired_at,
    own_jid, own_lid
FROM whatsapp_sessions WHERE tenant_id = $1
"""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """The row of whatsapp_sessions. Whoever has the code can link a device: it never shows in a
    repr."""

    state: SessionState
    last_qr: str | None = field(repr=False)
    last_qr_text: str | None = field(repr=False)
    last_qr_expires_at: datetime | None
    last_seen_at: datetime | None
    paired_at: datetime | None
    own_jid: str | None
    """The number it is paired with, or was paired with last."""
    own_lid: str | None


async def fetch_session(database: Database, tenant_id: TenantId) -> SessionRow:
    """NotFoundError if there is no such tenant, SealedError if its code cannot be opened."""
    async with database.tenant(tenant_id) as tx:
        row = await tx.fetchrow(FETCH_SESSION, tenant_id)
        if row is None:
            raise NotFoundError(f"There is no tenant {tenant_id}.")
        picture, text = await _open_code(tx, tenant_id, row)
    opened = {"last_qr": picture, "last_qr_text": text, "state": SessionState(row["state"])}
    return SessionRow(**{**row, **opened})


async def save_qr(
    tx: Tx, tenant_id: TenantId, text: str, data_url: str, expires_at: datetime | None
) -> None:
    key = await datakeys.tenant_key(tx, tenant_id)
    picture = key.seal(clean_text(data_url), column=PICTURE, row=str(tenant_id))
    sealed = key.seal(clean_text(text), column=TEXT, row=str(tenant_id))
    await tx.execute(SAVE_QR, tenant_id, picture, sealed, expires_at)


async def _open_code(tx: Tx, tenant_id: TenantId, row: Record) -> tuple[str | None, str | None]:
    """Picture and text; None where there is none."""
    if row["last_qr"] is None or row["last_qr_text"] is None:
        return None, None
    key, place = await datakeys.tenant_key(tx, tenant_id), str(tenant_id)
    return (
        key.open(bytes(row["last_qr"]), column=PICTURE, row=place),
        key.open(bytes(row["last_qr_text"]), column=TEXT, row=place),
    )


async def save_identity(tx: Tx, tenant_id: TenantId, phone: str, lid: str) -> datetime:
    """``paired_at``, which the first call of a pairing sets; digits in ``phone`` and ``lid``, ''
    for what the page does not tell. Another number begins another pairing, without a past, and says
    nothing to the chats of the old one: what waited for them is taken back."""
    jid = f"{clean_text(phone)}@c.us" if phone else None
    row = await tx.fetchrow(
        SAVE_IDENTITY, tenant_id, jid, f"{clean_text(lid)}@lid" if lid else None
    )
    if row is None:
        raise NotFoundError(f"There is no tenant {tenant_id}.")
    if row["changed"]:
        await inbox.skip_all(tx, tenant_id, reason=NUMBER_CHANGED)
        await outbox.take_back_all(tx, tenant_id, reason=NUMBER_CHANGED)
        told = ChatEvent.NUMBER_CHANGED.value
        await tx.execute(TELL_CHANGE, tenant_id, told, jid or "?", row["own_jid"] or "?")
        log.warning("paired with another number than before", tenant_id=str(tenant_id))
    paired_at: datetime = row["paired_at"]
    return paired_at


async def forget_pairing(tx: Tx, tenant_id: TenantId) -> None:
    await tx.execute(FORGET_PAIRING, tenant_id)


async def touch(tx: Tx, tenant_id: TenantId, *, caught_up: bool) -> datetime:
    """The database's time, stored as ``last_seen_at``. ``caught_up``: nothing older than the newest
    recorded message is missing, so that a later catching up begins there."""
    seen_at: datetime | None = await tx.fetchval(TOUCH, tenant_id, caught_up)
    if seen_at is None:
        raise NotFoundError(f"There is no tenant {tenant_id}.")
    return seen_at


async def caught_up_to(tx: Tx, tenant_id: TenantId) -> datetime | None:
    """Up to when everything is recorded; None before the first catching up of a pairing."""
    found: datetime | None = await tx.fetchval(CAUGHT_UP_TO, tenant_id)
    return found
