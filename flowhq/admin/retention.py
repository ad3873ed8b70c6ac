"""What is kept for how long, and how the daily sweep went: for the operator."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum

from pydantic import BaseModel

from flowhq.admin.inputs import NoBody, NoQuery
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.days import Day
from flowhq.db.sweeps import Keeping


class SweepsState(StrEnum):
    OK = "ok"
    HELD = "held"


class LastSweepView(BaseModel):
    """``outcome`` is running, done or failed; ``detail`` says why; ``figures`` how many of what
    are gone."""

    began_at: datetime
    ended_at: datetime | None
    outcome: str
    detail: str
    figures: dict[str, int]


class TermsView(BaseModel):
    """The installation's days; a tenant may have its own."""

    text_days: int
    metadata_days: int
    payload_days: int
    audit_days: int
    archive: bool


class DaysView(BaseModel):
    """The ledger's partitions: the first and the last day, how many, and how many of them are yet
    to come."""

    first: date | None
    last: date | None
    count: int
    ahead: int


class RetentionStateView(BaseModel):
    """``held``: nothing is deleted, since the clock jumped; ``held_why`` says how. ``sizes`` are
    bytes by table."""

    state: SweepsState
    held_since: datetime | None
    held_why: str
    next_at: datetime | None
    last: LastSweepView | None
    terms: TermsView
    days: DaysView
    sizes: dict[str, int]


async def retention(call: Call[NoBody, NoQuery]) -> RetentionStateView:
    keeping = await call.deps.store.fetch_keeping()
    state, terms = keeping.state, call.deps.retention
    return RetentionStateView(
        state=SweepsState.OK if state.held_since is None else SweepsState.HELD,
        held_since=state.held_since,
        held_why=state.held_why,
        next_at=state.next_at,
        last=last_view(keeping),
        terms=TermsView(
            text_days=terms.text_days,
            metadata_days=terms.metadata_days,
            payload_days=terms.payload_days,
            audit_days=terms.audit_days,
            archive=bool(terms.archive_dir),
        ),
        days=days_view(keeping.days, call.deps.clock.now().astimezone(UTC).date()),
        sizes=_sizes(keeping.days, keeping.sizes),
    )


def last_view(keeping: Keeping) -> LastSweepView | None:
    """None before the first sweep."""
    last = keeping.last
    if last is None:
        return None
    return LastSweepView(
        began_at=last.began_at,
        ended_at=last.ended_at,
        outcome=last.outcome,
        detail=last.detail,
        figures=dict(last.figures),
    )


def days_view(days: Sequence[Day], today: date) -> DaysView:
    """Of the days that are in the ledger; one that is on its way out is not."""
    dates = [day.date for day in days if day.attached]
    return DaysView(
        first=min(dates, default=None),
        last=max(dates, default=None),
        count=len(dates),
        ahead=sum(one > today for one in dates),
    )


def _sizes(days: Sequence[Day], tables: Mapping[str, int]) -> dict[str, int]:
    return {"message_logs": sum(day.size_bytes for day in days), **tables}


ROUTES = (
    Route(
        "GET",
        "/admin/retention",
        "retention",
        "What is kept, and how the daily sweep went",
        retention,
        body=NoBody,
        query=NoQuery,
        answer=RetentionStateView,
        needs=Scope.STATUS_READ,
    ),
)
