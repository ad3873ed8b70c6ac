"""Where the states of tenants are kept, with their history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flowhq.db.cleaning import clean_error
from flowhq.db.paging import check_limit
from flowhq.db.pool import Database
from flowhq.errors import InvalidInputError, NotFoundError
from flowhq.model import (
    Reason,
    SessionState,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)

# One statement, so that the history and the rows cannot differ. A code on show is cleared when
# the session leaves QR_READY: whoever reads it later could not use it. A connection that ends in
# order counts to its end, one that just was no more (a crash, a hang) to its last heartbeat; no
# heartbeat is further apart than the two minutes after which a worker is stale. The first
# connection after an approval makes the owner's setup request ACTIVE; any uses up a pairing link.
SAVE = """
WITH before AS (
    SELECT id, status, reason, (
        SELECT state FROM whatsapp_sessions WHERE tenant_id = $1
    ) = 'CONNECTED' AS connected
    FROM tenants WHERE id = $1 FOR NO KEY UPDATE
), began AS (
    INSERT INTO tenant_spans (tenant_id, kind, until_at)
    SELECT b.id, 'connected', now() FROM before b
    WHERE $7 = 'CONNECTED' AND NOT coalesce(b.connected, false)
), ended AS (
    UPDATE tenant_spans SET until_at = least(now(), until_at + interval '2 minutes')
    WHERE $7 <> 'CONNECTED' AND $10 IN ('lost', 'logged_out', 'conflict', 'stop', 'shutdown')
        AND (SELECT connected FROM before) AND tenant_id = $1 AND id = (
            SELECT id FROM tenant_spans WHERE tenant_id = $1 AND kind = 'connected'
            ORDER BY began_at DESC LIMIT 1
        )
), tenant AS (
    UPDATE tenants SET status = $2::text::tenant_status, reason = $3, detail = $4,
        desired_state = $5::text::desired_state,
        paused_at = CASE WHEN $6::boolean THEN coalesce(paused_at, now()) END
    WHERE id = $1
), session AS (
    UPDATE whatsapp_sessions SET
        state = $7::text::session_state,
        last_qr = CASE WHEN $7 = 'QR_READY' THEN last_qr END,
        last_qr_text = CASE WHEN $7 = 'QR_READY' THEN last_qr_text END,
        last_qr_expires_at = CASE WHEN $7 = 'QR_READY' THEN last_qr_expires_at END
    WHERE tenant_id = $1
), worker AS (
    UPDATE worker_processes SET
        status = $8::text::worker_status,
        last_error = CASE $8 WHEN 'ERROR' THEN coalesce(nullif($4, ''), $3) WHEN 'RUNNING' THEN NULL
            ELSE last_error END,
        started_at = CASE
            WHEN $8 = 'RUNNING' AND status <> 'RUNNING' THEN now() ELSE started_at END,
        restarts = $9
    WHERE tenant_id = $1
), event AS (
    INSERT INTO tenant_events (
        tenant_id, from_status, to_status, session, worker, reason, event, actor, detail
    )
    SELECT b.id, b.status, $2::text::tenant_status, $7::text::session_state,
        $8::text::worker_status, $3, $10, $11, $4
    FROM before b
    WHERE b.status <> $2::text::tenant_status OR b.reason <> $3
), live AS (
    UPDATE setup_requests SET status = 'ACTIVE', active_at = now()
    WHERE $7 = 'CONNECTED' AND tenant_id = $1 AND status = 'APPROVED'
    RETURNING tenant_id, user_id, id
), paired AS (
    UPDATE pairing_links SET used_at = now()
    WHERE $7 = 'CONNECTED' AND tenant_id = $1 AND used_at IS NULL AND revoked_at IS NULL
        AND expires_at > now()
), told AS (
    INSERT INTO portal_event_logs (tenant_id, user_id, event_type, payload)
    SELECT tenant_id, user_id, 'SETUP_ACTIVE', jsonb_build_object('setup_request', id) FROM live
)
SELECT count(*) FROM before
"""

FETCH_EVENTS = """
SELECT id, from_status::text AS from_status, to_status::text AS to_status,
    session::text AS session, worker::text AS worker, reason, event, actor, detail, at
FROM tenant_events
WHERE tenant_id = $1 AND id < coalesce($3, 9223372036854775807)
ORDER BY id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One change of a tenant's status or reason."""

    event_id: int
    from_status: TenantStatus
    to_status: TenantStatus
    session: SessionState
    worker: WorkerStatus
    reason: Reason
    event: str
    actor: str
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """``next`` is to be passed as ``before`` for the page after this one; None after the last."""

    rows: Sequence[EventRow]
    next: str | None


class PostgresStatusBook:
    """The bot's port StatusBook on PostgreSQL; shared by all tenants of the daemon."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, snapshot: TenantSnapshot, *, event: str, actor: str) -> None:
        """Tenant, session and worker rows and, if status or reason changed, a tenant_events row.

        NotFoundError if the tenant was deleted.
        """
        async with self._database.tenant(snapshot.tenant_id) as tx:
            found = await tx.fetchval(
                SAVE,
                snapshot.tenant_id,
                snapshot.status.value,
                snapshot.reason.value,
                clean_error(snapshot.detail),
                snapshot.desired.value,
                snapshot.paused,
                snapshot.session.value,
                snapshot.worker.value,
                snapshot.restarts,
                clean_error(event),
                clean_error(actor),
            )
        if not found:
            raise NotFoundError(f"There is no tenant {snapshot.tenant_id}.")


async def fetch_events(
    database: Database, tenant_id: TenantId, *, limit: int, before: str | None = None
) -> EventPage:
    """Newest first. InvalidInputError names ``limit`` or ``before``."""
    wanted = check_limit(limit) + 1
    async with database.tenant(tenant_id) as tx:
        found = await tx.fetch(FETCH_EVENTS, tenant_id, wanted, _read_event_id(before))
    rows = [
        EventRow(
            event_id=row["id"],
            from_status=TenantStatus(row["from_status"]),
            to_status=TenantStatus(row["to_status"]),
            session=SessionState(row["session"]),
            worker=WorkerStatus(row["worker"]),
            reason=Reason(row["reason"]),
            event=row["event"],
            actor=row["actor"],
            detail=row["detail"],
            at=row["at"],
        )
        for row in found[:limit]
    ]
    return EventPage(rows, str(rows[-1].event_id) if len(found) > limit else None)


def _read_event_id(before: str | None) -> int | None:
    if before is None:
        return None
    if not (before.isascii() and before.isdecimal() and len(before) <= 18):
        raise InvalidInputError("This is not a place in the list.", field="before")
    return int(before)
