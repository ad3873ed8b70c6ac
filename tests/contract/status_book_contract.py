"""What every book of states must do: one suite over the fake (test_fake_ledger.py) and over
PostgreSQL (test_postgres_ledger.py)."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from flowhq.bot.ports import StatusBook
from flowhq.model import (
    DesiredState,
    Reason,
    SessionState,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)


class StatusBookContract:
    """A subclass gives ``book`` and ``snapshot``, of a tenant that the book knows, and ``events``,
    which reads the history, oldest first, as (event, actor, status, reason)."""

    async def test_each_change_of_status_or_reason_is_history(
        self, book: StatusBook, snapshot: TenantSnapshot, events: Callable[[], Awaitable[list[Any]]]
    ) -> None:
        for change in (
            ("start", TenantStatus.QR_PENDING, Reason.STARTING),
            ("qr_shown", TenantStatus.QR_PENDING, Reason.SCAN_QR),
            ("ready", TenantStatus.ACTIVE, Reason.CONNECTED),
        ):
            event, status, reason = change
            await book.save(
                replace(
                    snapshot,
                    status=status,
                    reason=reason,
                    session=SessionState.DISCONNECTED,
                    worker=WorkerStatus.RUNNING,
                    desired=DesiredState.RUNNING,
                ),
                event=event,
                actor="admin",
            )
        assert await events() == [
            ("start", "admin", TenantStatus.QR_PENDING, Reason.STARTING),
            ("qr_shown", "admin", TenantStatus.QR_PENDING, Reason.SCAN_QR),
            ("ready", "admin", TenantStatus.ACTIVE, Reason.CONNECTED),
        ]

    async def test_a_change_of_neither_is_stored_and_no_history(
        self, book: StatusBook, snapshot: TenantSnapshot, events: Callable[[], Awaitable[list[Any]]]
    ) -> None:
        active = replace(snapshot, status=TenantStatus.ACTIVE, reason=Reason.CONNECTED)
        await book.save(active, event="ready", actor="daemon")
        await book.save(replace(active, restarts=3), event="failed", actor="daemon")
        assert len(await events()) == 1

    async def test_a_detail_of_any_content_can_be_stored(
        self, book: StatusBook, snapshot: TenantSnapshot, events: Callable[[], Awaitable[list[Any]]]
    ) -> None:
        odd = replace(
            snapshot,
            status=TenantStatus.ERROR,
            reason=Reason.INTERNAL_ERROR,
            detail="\x00 " + "\ud800" + "x" * 50_000,
        )
        await book.save(odd, event="failed", actor="daemon")
        assert len(await events()) == 1
