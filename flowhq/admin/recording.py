"""The audit of one request: written before the change and once more after it.

A change whose beginning cannot be stored is not made: the client is told that the database is away.
Where only the end cannot be stored, the entry stays open (no status): what became of it stands in
the log under its request id. Routes that are open to all are entered when they have done something:
else whoever comes could fill the table.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from uuid import UUID

import structlog
from aiohttp import web

from flowhq.admin.problems import of_error
from flowhq.db.audit import Change, EntryFilter, EntryPage, NewEntry
from flowhq.errors import FlowHQError, StoreError
from flowhq.log import HIDDEN, redact

# Beyond it an entry tells how many more fields changed, not which.
CHANGES_MAX = 100
# Longer texts are cut: the audit says what was changed, it is no second copy of it.
VALUE_MAX = 200
# Path parts of these names open something by themselves, unless they are plain ids.
_SECRET_PART = re.compile(r"token|secret|code|key|link", re.IGNORECASE)
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

log = structlog.get_logger(__name__)


class AuditBook(Protocol):
    """Where entries are kept. StoreUnavailableError when the database is away."""

    async def begin(self, entry: NewEntry) -> UUID: ...

    async def end(self, entry_id: UUID, *, status: int, changes: Sequence[Change]) -> None: ...

    async def write(self, entry: NewEntry, *, status: int, changes: Sequence[Change]) -> None: ...

    async def list_entries(
        self, wanted: EntryFilter, *, limit: int, before: str | None
    ) -> EntryPage:
        """Newest first."""
        ...


@dataclass(slots=True)
class Trace:
    """What a handler tells of its own change; ``principal`` is who turned out to be asking."""

    changes: list[Change] = field(default_factory=list)
    principal: str = ""

    def add(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self.changes += differences(before, after)


Work = Callable[[], Awaitable[web.StreamResponse]]


async def record_change(
    book: AuditBook, entry: NewEntry, trace: Trace, work: Work
) -> web.StreamResponse:
    """Does the work between the two halves of its entry; raises what the work raises."""
    entry_id = await book.begin(entry)
    status: int | None = HTTPStatus.INTERNAL_SERVER_ERROR.value
    try:
        response = await work()
        status = response.status
        return response
    except FlowHQError as error:
        status = of_error(error).kind.status
        raise
    except asyncio.CancelledError:
        status = None
        raise
    finally:
        if status is not None:
            await end_entry(book, entry_id, status, trace)


async def record_success(
    book: AuditBook, make_entry: Callable[[str], NewEntry], trace: Trace, work: Work
) -> web.StreamResponse:
    """Does the work and enters it if it succeeded, under the name that it found out."""
    response = await work()
    if response.status < HTTPStatus.BAD_REQUEST:
        entry = make_entry(trace.principal)
        await book.write(entry, status=response.status, changes=trace.changes)
    return response


def target_of(parts: Mapping[str, str]) -> dict[str, str]:
    """The ids of a path but the tenant's, which has its own place; what opens something is left
    out."""
    target = {}
    for name, value in parts.items():
        opens = _SECRET_PART.search(name) and not _ID.fullmatch(value)
        # What the database could not store, a path may still hold.
        text = value.encode("utf-8", "replace").decode().replace("\0", "\\0")
        target[name] = HIDDEN if opens else text[:VALUE_MAX]
    target.pop("tenant_id", None)
    return target


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The fields that are not the same, down to single values: ``details.services[0].price``.

    Secrets and texts are hidden by their names, phone numbers shortened, long values cut.
    """
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    paths = [path for path in old | new if old.get(path) != new.get(path)]
    changes = [
        Change(path, _shown(path, old.get(path)), _shown(path, new.get(path)))
        for path in paths[:CHANGES_MAX]
    ]
    if len(paths) > CHANGES_MAX:
        changes.append(Change("...", None, f"{len(paths) - CHANGES_MAX} more fields"))
    return changes


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list | tuple) and value:
        for number, item in enumerate(value):
            yield from _leaves(f"{path}[{number}]", item)
    elif path:
        yield path, value


def _shown(path: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    key = re.sub(r"\[\d+\]", "", path).rpartition(".")[2]
    text = value if isinstance(value, str) else str(value)
    shown = str(redact(None, "", {key: text})[key])
    return shown if len(shown) <= VALUE_MAX else f"{shown[:VALUE_MAX]}…"


async def end_entry(book: AuditBook, entry_id: UUID, status: int, trace: Trace) -> None:
    """How it ended; where that cannot be stored, the log says so."""
    try:
        await book.end(entry_id, status=status, changes=trace.changes)
    except StoreError as error:
        log.error("audit entry left open", entry=str(entry_id), status=status, why=str(error))
