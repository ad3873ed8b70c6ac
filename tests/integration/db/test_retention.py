"""What is too old goes, nothing else does, and a crash at any point costs nothing but time."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowhq.config import RetentionSettings
from flowhq.db import archive, audit, days, deadletters, retention, sweeps
from flowhq.db.audit import EntryFilter
from flowhq.db.deadletters import requeue
from flowhq.db.owner import owner_connection
from flowhq.db.partitions import make_day
from flowhq.db.pool import Database
from flowhq.db.retention import Terms
from flowhq.db.tenants import update_tenant
from flowhq.errors import (
    FlowHQError,
    StoreTimeoutError,
    StoreUnavailableError,
    WrongStateError,
)
from flowhq.metrics import Metrics
from flowhq.model import InboxState, TenantId
from flowhq.sweeping import Sweeper
from tests.fakes.clock import FakeClock, until
from tests.integration.db.conftest import WAITING, Dies, Shop
from tests.integration.db.messages import message

NOW = datetime.now(UTC)
TERMS = Terms(text_days=90, metadata_days=400, payload_days=7)
OLDEST = NOW - timedelta(days=420)

LOG = """
INSERT INTO message_logs (tenant_id, direction, from_number, to_number, message_text, status,
    created_at, content)
SELECT $1, 'IN', '+255711111111', '+255700000001', 'Siri ' || n, 'received', $2,
    '{"caption": "picha"}'
FROM generate_series(1, $3::int) AS n
"""
TEXTS = """
SELECT count(*) FILTER (WHERE message_text <> '' OR content <> '{}') FROM message_logs
WHERE tenant_id = $1
"""
AGE_INBOX = "UPDATE inbox SET created_at = $2, done_at = $2 WHERE tenant_id = $1"
PLANNED = """
INSERT INTO outbox (tenant_id, chat_key, to_jid, cause, part, client_id, body, state, attempts,
    planned_at, log_id, log_at)
VALUES ($1, 'c', 'c', $2, 0, $2, '{"text": "Siri"}', $3::text::outbox_state, 1, $4,
    gen_random_uuid(), $4)
"""
EVENT = """
INSERT INTO tenant_events
    (tenant_id, from_status, to_status, session, worker, reason, event, actor, at)
VALUES ($1, 'NEW', 'ACTIVE', 'CONNECTED', 'RUNNING', 'CONNECTED', 'READY', 'test', $2)
"""

ENTRY = """
INSERT INTO audit_log (at, principal, address, request_id, method, route)
VALUES ($1, $2, '', '', 'POST', 'pause_tenant')
"""


def ago(days_back: float) -> datetime:
    return NOW - timedelta(days=days_back)


async def write(shop: Shop, days_back: float, number: int = 1) -> None:
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(LOG, shop.tenant_id, ago(days_back), number)


async def count(shop: Shop, sql: str, *args: object) -> Any:
    async with shop.database.tenant(shop.tenant_id) as tx:
        return await tx.fetchval(sql, shop.tenant_id, *args)


async def texts(shop: Shop) -> int:
    return int(await count(shop, TEXTS))


async def messages(shop: Shop) -> int:
    return int(await count(shop, "SELECT count(*) FROM message_logs WHERE tenant_id = $1"))


async def blank(shop: Shop, terms: Terms = TERMS) -> Any:
    return await retention.blank_tenant(
        shop.database, shop.tenant_id, terms, now=NOW, oldest=OLDEST
    )


# -- texts ----


async def test_old_texts_go_and_the_rest_of_the_messages_stays(shop: Shop) -> None:
    await write(shop, 89, 2)
    await write(shop, 91, 3)
    await write(shop, 200, 4)
    assert (await blank(shop))["texts"] == 7
    assert (await texts(shop), await messages(shop)) == (2, 9)


async def test_the_next_time_goes_on_where_the_last_one_ended(shop: Shop) -> None:
    await write(shop, 91)
    await blank(shop)
    await write(shop, 90.5)
    later = Terms(89, 400, 7)
    await write(shop, 89.5)
    assert (await blank(shop, later))["texts"] == 1
    assert await texts(shop) == 1


async def test_another_tenants_texts_are_its_own_matter(shop: Shop, other_shop: Shop) -> None:
    await write(shop, 100)
    await write(other_shop, 100)
    await blank(shop)
    assert (await texts(shop), await texts(other_shop)) == (0, 1)


@pytest.mark.parametrize("lives", [1, 2, 3, 5])
async def test_wherever_it_is_cut_off_the_next_one_does_the_rest(
    shop: Shop, any_url: str, monkeypatch: pytest.MonkeyPatch, lives: int
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    await write(shop, 92, 5)
    await write(shop, 91, 5)
    await write(shop, 1, 1)
    dying = Dies(any_url)
    dying.lives = lives
    async with dying:
        with pytest.raises(StoreUnavailableError):
            await retention.blank_tenant(
                dying, shop.tenant_id, TERMS, now=NOW, oldest=NOW - timedelta(days=93)
            )
    await blank(shop)
    assert (await texts(shop), await messages(shop)) == (1, 11)


async def test_what_a_chat_said_last_goes_with_the_texts(shop: Shop) -> None:
    await shop.ledger.record(message(), state=InboxState.NEW)
    await count(shop, "UPDATE conversations SET last_message_at = $2 WHERE tenant_id = $1", ago(91))
    assert (await blank(shop))["chats"] == 1
    left = "SELECT count(*) FROM conversations WHERE tenant_id = $1 AND last_message IS NOT NULL"
    assert await count(shop, left) == 0


# -- what was given up, and what is settled ----


async def test_a_dead_message_can_be_tried_again_for_some_days_only(shop: Shop) -> None:
    recorded = await shop.ledger.record(message(), state=InboxState.NEW)
    kill = "UPDATE inbox SET state = 'dead', done_at = $2 WHERE tenant_id = $1"
    await count(shop, kill, ago(6))
    assert (await blank(shop))["payloads"] == 0
    await count(shop, kill, ago(8))
    assert (await blank(shop))["payloads"] == 1
    with pytest.raises(WrongStateError, match="skipped"):
        await requeue(shop.database, shop.tenant_id, recorded.key.message_id, actor="test")
    assert await count(shop, "SELECT reason FROM inbox WHERE tenant_id = $1") == "expired"


async def test_what_was_to_be_said_goes_with_the_texts_unless_it_is_under_way(shop: Shop) -> None:
    async with shop.database.tenant(shop.tenant_id) as tx:
        for name, state in {"a": "read", "b": "dead", "c": "unknown"}.items():
            await tx.execute(PLANNED, shop.tenant_id, name, state, ago(91))
    assert (await blank(shop))["replies"] == 2
    assert await reply_states(shop) == {
        "a": ("read", ""),
        "b": ("cancelled", ""),
        "c": ("unknown", "Siri"),
    }
    assert (await blank(shop))["replies"] == 0


async def reply_states(shop: Shop) -> dict[str, tuple[str, str]]:
    """State and text of each planned message, by its id."""
    async with shop.database.tenant(shop.tenant_id) as tx:
        rows = await tx.fetch(
            "SELECT client_id, state::text AS state, body ->> 'text' AS text FROM outbox "
            "WHERE tenant_id = $1 ORDER BY client_id",
            shop.tenant_id,
        )
    return {row["client_id"]: (row["state"], row["text"]) for row in rows}


async def test_a_reply_that_is_settled_late_loses_its_text_then(shop: Shop) -> None:
    async with shop.database.tenant(shop.tenant_id) as tx:
        for name, state, back in (("a", "read", 95), ("b", "unknown", 93), ("c", "read", 91)):
            await tx.execute(PLANNED, shop.tenant_id, name, state, ago(back))
    assert (await blank(shop))["replies"] == 2
    await count(shop, "UPDATE outbox SET state = 'read' WHERE tenant_id = $1 AND client_id = 'b'")
    assert (await blank(shop))["replies"] == 1
    assert set((await reply_states(shop)).values()) == {("read", "")}


async def test_replies_that_were_done_with_the_last_time_are_not_looked_at_again(
    shop: Shop,
) -> None:
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(PLANNED, shop.tenant_id, "a", "read", ago(91))
    assert (await blank(shop))["replies"] == 1
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(PLANNED, shop.tenant_id, "b", "read", ago(92))
    assert (await blank(shop))["replies"] == 0


# -- what changes in the moment in which it is swept ----


async def blanked_while(shop: Shop, url: str, sql: str, *args: object) -> Counter[str]:
    """What the sweep takes that waits for somebody who is changing the rows."""
    async with owner_connection(url) as looker, shop.database.tenant(shop.tenant_id) as tx:
        await tx.fetch(sql, shop.tenant_id, *args)
        blanking = asyncio.create_task(blank(shop))
        await until(lambda: looker.fetchval(WAITING), "a sweep that waits")
    gone: Counter[str] = await blanking
    return gone


async def test_a_dead_message_that_is_put_back_meanwhile_does_not_expire(
    shop: Shop, any_url: str
) -> None:
    recorded = await shop.ledger.record(message(), state=InboxState.NEW)
    await count(shop, "UPDATE inbox SET state = 'dead', done_at = $2 WHERE tenant_id = $1", ago(8))
    put_back = deadletters.REQUEUE_SEEN
    gone = await blanked_while(shop, any_url, put_back, recorded.key.message_id)
    assert gone["payloads"] == 0
    waiting = await shop.ledger.waiting(None, limit=10)
    assert [one.key for one in waiting] == [recorded.key]
    assert await count(shop, "SELECT payload IS NOT NULL FROM inbox WHERE tenant_id = $1")


async def test_a_dead_reply_that_is_put_back_meanwhile_keeps_its_text_until_it_is_settled(
    shop: Shop, any_url: str
) -> None:
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(PLANNED, shop.tenant_id, "a", "dead", ago(91))
    gone = await blanked_while(shop, any_url, deadletters.REQUEUE_REPLIES, ["a"])
    assert gone["replies"] == 0
    assert await reply_states(shop) == {"a": ("unknown", "Siri")}
    await count(shop, "UPDATE outbox SET state = 'read' WHERE tenant_id = $1")
    assert (await blank(shop))["replies"] == 1


async def test_a_chat_that_wakes_meanwhile_keeps_what_it_remembers(
    shop: Shop, any_url: str
) -> None:
    await shop.ledger.record(message(), state=InboxState.NEW)
    await count(shop, "UPDATE conversations SET last_message_at = $2 WHERE tenant_id = $1", ago(91))
    wake = """UPDATE conversations SET last_message_at = now(), bot_state = '{"turn": 1}'
        WHERE tenant_id = $1"""
    assert (await blanked_while(shop, any_url, wake))["chats"] == 0
    kept = "SELECT bot_state <> '{}' AND last_message <> '' FROM conversations WHERE tenant_id = $1"
    assert await count(shop, kept)


async def test_settled_rows_go_after_their_time_and_unsettled_ones_stay(shop: Shop) -> None:
    for name in ("3A1", "3A2"):
        await shop.ledger.record(message(name), state=InboxState.SKIPPED, reason="own")
    await shop.ledger.record(message("3A3"), state=InboxState.NEW)
    await count(shop, AGE_INBOX, ago(401))
    await write(shop, 401, 4)
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(PLANNED, shop.tenant_id, "a", "read", ago(401))
        await tx.execute(PLANNED, shop.tenant_id, "b", "unknown", ago(401))
        await tx.execute(EVENT, shop.tenant_id, ago(401))
        await tx.execute(EVENT, shop.tenant_id, ago(399))
    gone = await retention.delete_tenants_old(shop.database, shop.tenant_id, TERMS, now=NOW)
    assert gone == {"inbox": 2, "outbox": 1, "events": 1, "messages": 4}
    assert await count(shop, "SELECT count(*) FROM inbox WHERE tenant_id = $1") == 1
    assert await count(shop, "SELECT count(*) FROM outbox WHERE tenant_id = $1") == 1


async def test_a_tenant_may_have_days_of_its_own(
    store: Database, shop: Shop, other_shop: Shop
) -> None:
    await update_tenant(store, shop.tenant_id, {"retention": {"text_days": 10}})
    terms = await retention.list_terms(store, TERMS)
    assert terms == {shop.tenant_id: Terms(10, 400, 7), other_shop.tenant_id: TERMS}


# -- whole days ----


@dataclass(frozen=True)
class Ledger:
    """A ledger with a day that is old enough to go, and one that is not."""

    url: str
    shop: Shop
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.jsonl.gz"

    @property
    def name(self) -> str:
        return f"message_logs_{ago(410):%Y%m%d}"

    async def old_day(self) -> days.Day:
        found = await days.list_days(self.shop.database)
        return next(day for day in found if day.name == self.name)

    async def drop(self) -> days.Gone:
        return await days.drop_day(self.url, await self.old_day(), self.folder)

    async def is_there(self) -> bool:
        return any(day.name == self.name for day in await days.list_days(self.shop.database))

    def archived(self) -> list[Any]:
        with gzip.open(self.file, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


@pytest.fixture
async def ledger(any_url: str, shop: Shop, tmp_path: Path) -> Ledger:
    async with owner_connection(any_url) as connection:
        for back in (410, 50):
            await make_day(connection, ago(back).date())
    await write(shop, 410, 5)
    await write(shop, 50, 2)
    return Ledger(any_url, shop, tmp_path / "archive")


async def test_a_day_is_written_down_whole_and_dropped(ledger: Ledger) -> None:
    gone = await ledger.drop()
    assert (gone.archived, gone.archive_bytes) == (5, ledger.file.stat().st_size)
    assert {row["message_text"] for row in ledger.archived()} == {f"Siri {n}" for n in range(1, 6)}
    assert ledger.archived()[0]["tenant_id"] == str(ledger.shop.tenant_id)
    assert not await ledger.is_there()
    assert await messages(ledger.shop) == 2


async def test_an_archive_is_nobody_elses(ledger: Ledger) -> None:
    await ledger.drop()
    assert ledger.file.stat().st_mode & 0o777 == 0o600
    assert ledger.folder.stat().st_mode & 0o777 == 0o700


async def test_texts_with_line_ends_and_signs_stay_one_line(ledger: Ledger) -> None:
    odd = 'a\nb\r\n"c", \\ \\. \t ☕'
    async with ledger.shop.database.tenant(ledger.shop.tenant_id) as tx:
        await tx.execute(
            "UPDATE message_logs SET message_text = $2 WHERE tenant_id = $1",
            ledger.shop.tenant_id,
            odd,
        )
    await ledger.drop()
    assert [row["message_text"] for row in ledger.archived()] == [odd] * 5


async def test_without_a_folder_a_day_just_goes(ledger: Ledger) -> None:
    gone = await days.drop_day(ledger.url, await ledger.old_day(), None)
    assert gone.archived == 0
    assert not await ledger.is_there()
    assert not ledger.folder.exists()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("point", ["_PrivateFile", "_lines_of", "_put_in_place"])
async def test_a_daemon_killed_while_it_writes_loses_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(archive, point, die)
        with pytest.raises(Killed):
            await ledger.drop()
    assert not (await ledger.old_day()).attached
    assert not ledger.file.exists()
    assert (await ledger.drop()).archived == 5
    assert len(ledger.archived()) == 5
    assert not await ledger.is_there()
    assert [path.name for path in ledger.folder.iterdir()] == [ledger.file.name]


async def test_a_daemon_killed_before_the_drop_keeps_the_file_that_is_whole(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(days, "DROP", "DROP TABLE {name}_that_is_not_there")
        with pytest.raises(FlowHQError):
            await ledger.drop()
    before = ledger.file.stat()
    assert (await ledger.drop()).archived == 5
    assert ledger.file.stat().st_mtime_ns == before.st_mtime_ns
    assert not await ledger.is_there()


@pytest.mark.parametrize("harm", ["cut off", "emptied", "short"])
async def test_a_file_that_is_not_whole_is_written_again(ledger: Ledger, harm: str) -> None:
    ledger.folder.mkdir()
    whole = gzip.compress(b"{}\n{}\n")
    ledger.file.write_bytes({"cut off": whole[:-4], "emptied": b"", "short": whole}[harm])
    assert (await ledger.drop()).archived == 5
    assert len(ledger.archived()) == 5


async def test_a_file_that_lacks_rows_keeps_the_day(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = "SELECT row_to_json(t)::text FROM {table} AS t ORDER BY t.created_at, t.id LIMIT 3"
    with monkeypatch.context() as patch:
        patch.setattr(archive, "ROWS", fewer)
        with pytest.raises(FlowHQError, match="3 rows instead of 5"):
            await ledger.drop()
    assert await ledger.is_there()
    assert (await ledger.drop()).archived == 5


async def test_a_folder_that_cannot_be_written_keeps_the_day(ledger: Ledger) -> None:
    ledger.folder.write_text("a file in its place")
    with pytest.raises(FlowHQError, match="File exists"):
        await ledger.drop()
    ledger.folder.unlink()
    assert (await ledger.drop()).archived == 5


async def test_a_ledger_that_somebody_holds_is_left_for_the_next_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with owner_connection(ledger.url) as other, other.transaction():
        await other.execute("LOCK TABLE message_logs IN ACCESS SHARE MODE")
        with monkeypatch.context() as patch:
            patch.setattr(days, "LOCK_TIMEOUT_MS", 50)
            with pytest.raises(FlowHQError):
                await ledger.drop()
    assert await messages(ledger.shop) == 7
    assert (await ledger.drop()).archived == 5


# -- the sweep ----


def sweeper(ledger: Ledger, **settings: Any) -> Sweeper:
    chosen = RetentionSettings(archive_dir=str(ledger.folder), **settings)
    return Sweeper(ledger.url, ledger.shop.database, FakeClock(), chosen, Metrics())


async def set_state(ledger: Ledger, **state: Any) -> None:
    async with owner_connection(ledger.url) as connection:
        await sweeps.save_state(connection, sweeps.SweepState(**state))


async def test_a_sweep_that_is_due_does_all_of_it_and_writes_it_down(ledger: Ledger) -> None:
    await write(ledger.shop, 100, 3)
    await set_state(ledger, seen_at=ago(0.01), next_at=ago(0.01))
    await sweeper(ledger).look()
    keeping = await sweeps.fetch_keeping(ledger.shop.database)
    assert keeping.last is not None
    assert (keeping.last.outcome, keeping.last.detail) == ("done", "")
    figures = keeping.last.figures
    assert (figures["texts"], figures["days"], figures["archived"]) == (8, 1, 5)
    assert keeping.state.next_at is not None
    assert keeping.state.next_at > NOW
    assert await texts(ledger.shop) == 2
    assert {row["message_text"] for row in ledger.archived()} == {""}


async def test_a_sweep_takes_the_entries_of_the_audit_that_are_old_enough(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "BATCH", 2)
    database = ledger.shop.database
    async with owner_connection(ledger.url) as connection:
        for back in (29, 31, 32, 33, 34, 399):
            await connection.execute(ENTRY, ago(back), f"user:{back}")
    await sweeper(ledger).sweep(NOW)
    page = await audit.list_entries(database, EntryFilter(), limit=9)
    assert len(page.rows) == 6
    await sweeper(ledger, audit_days=30).sweep(NOW)
    page = await audit.list_entries(database, EntryFilter(), limit=9)
    assert [row.entry.principal for row in page.rows] == ["user:29"]
    keeping = await sweeps.fetch_keeping(database)
    assert keeping.last is not None
    assert keeping.last.figures["audit"] == 5


async def test_the_longest_days_of_any_tenant_keep_a_day(ledger: Ledger, other_shop: Shop) -> None:
    await write(other_shop, 410, 2)
    keep = {"retention": {"metadata_days": 500}}
    await update_tenant(ledger.shop.database, other_shop.tenant_id, keep)
    await sweeper(ledger).sweep(NOW)
    assert await ledger.is_there()
    assert (await messages(ledger.shop), await messages(other_shop)) == (2, 2)


async def test_a_sweep_that_is_not_due_does_nothing(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    await set_state(ledger, seen_at=now, next_at=now + timedelta(hours=1))
    await sweeper(ledger).look()
    assert (await sweeps.fetch_keeping(ledger.shop.database)).last is None
    assert await ledger.is_there()


async def test_the_first_sweep_ever_waits_for_its_hour(ledger: Ledger) -> None:
    await sweeper(ledger).look()
    keeping = await sweeps.fetch_keeping(ledger.shop.database)
    assert keeping.state.next_at is not None
    assert keeping.last is None


async def test_after_a_jump_of_the_clock_nothing_goes(ledger: Ledger) -> None:
    await set_state(ledger, seen_at=ago(300), next_at=ago(299))
    await sweeper(ledger).look()
    keeping = await sweeps.fetch_keeping(ledger.shop.database)
    assert keeping.state.held_since is not None
    assert keeping.last is None
    assert await texts(ledger.shop) == 7


async def test_a_sweep_that_fails_says_why_and_is_tried_again_soon(ledger: Ledger) -> None:
    ledger.folder.write_text("a file in its place")
    await set_state(ledger, seen_at=NOW, next_at=ago(0.01))
    await sweeper(ledger).look()
    keeping = await sweeps.fetch_keeping(ledger.shop.database)
    assert keeping.last is not None
    assert (keeping.last.outcome, keeping.last.figures["texts"]) == ("failed", 5)
    assert "The archive cannot be written: File exists." in keeping.last.detail
    assert keeping.state.next_at is not None
    assert keeping.state.next_at < datetime.now(UTC) + timedelta(hours=2)
    ledger.folder.unlink()
    await sweeper(ledger).sweep(NOW)
    assert not await ledger.is_there()


async def test_a_run_that_a_daemon_left_is_told_as_failed(ledger: Ledger) -> None:
    async with owner_connection(ledger.url) as connection:
        await sweeps.begin_run(connection)
        await sweeps.begin_run(connection)
        rows = await connection.fetch("SELECT outcome::text FROM retention_runs ORDER BY id")
    assert [row["outcome"] for row in rows] == ["failed", "running"]


async def test_tables_have_sizes(ledger: Ledger) -> None:
    keeping = await sweeps.fetch_keeping(ledger.shop.database)
    assert {"inbox", "outbox", "tenant_events", "message_logs_default"} == set(keeping.sizes)
    assert all(day.size_bytes > 0 for day in keeping.days)
    assert len(keeping.days) == 17


# -- one tenant that fails ----


Swept = Callable[..., Awaitable[Counter[str]]]


@dataclass(frozen=True)
class Failing:
    """A step of the sweep that fails for one tenant."""

    whole: Swept
    tenant_id: TenantId
    swept: list[TenantId] = field(default_factory=list)

    async def __call__(
        self, database: Database, tenant_id: TenantId, terms: Terms, **when: datetime
    ) -> Counter[str]:
        self.swept.append(tenant_id)
        if tenant_id == self.tenant_id:
            raise StoreTimeoutError("It took too long.")
        return await self.whole(database, tenant_id, terms, **when)


def in_turn(*shops: Shop) -> list[Shop]:
    """As the sweep takes them: one that fails has another one behind it."""
    return sorted(shops, key=lambda shop: shop.tenant_id.bytes)


async def fails(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, step: str, shop: Shop
) -> sweeps.Keeping:
    """The diary after a sweep in which this step fails for this shop."""
    failing = Failing(getattr(retention, step), shop.tenant_id)
    monkeypatch.setattr(retention, step, failing)
    await sweeper(ledger).sweep(NOW)
    keeping = await sweeps.fetch_keeping(ledger.shop.database)
    assert keeping.last is not None
    assert keeping.last.outcome == "failed"
    assert keeping.state.next_at is not None
    assert keeping.state.next_at < NOW + timedelta(hours=2)
    assert len(failing.swept) == 2
    return keeping


async def test_a_tenant_whose_texts_cannot_go_stops_no_other(
    ledger: Ledger, other_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = in_turn(ledger.shop, other_shop)
    for one in (first, second):
        await write(one, 100, 3)
    await count(first, retention.SET_MARK, ago(120))
    keeping = await fails(ledger, monkeypatch, "blank_tenant", first)
    assert keeping.last is not None
    assert str(first.tenant_id) in keeping.last.detail
    assert str(second.tenant_id) not in keeping.last.detail
    assert "1 of 2 tenants" in keeping.last.detail
    kept = {ledger.shop.tenant_id: 2}
    assert await texts(second) == kept.get(second.tenant_id, 0)
    assert await texts(first) == 3 + kept.get(first.tenant_id, 0)
    assert not await ledger.is_there()


async def test_a_tenant_whose_rows_cannot_go_stops_no_other(
    ledger: Ledger, other_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = in_turn(ledger.shop, other_shop)
    for one in (first, second):
        await write(one, 405, 3)
    await sweeper(ledger, metadata_days=500).sweep(NOW)
    before = [await messages(first), await messages(second)]
    keeping = await fails(ledger, monkeypatch, "delete_tenants_old", first)
    assert keeping.last is not None
    assert str(first.tenant_id) in keeping.last.detail
    gone_with_the_day = {ledger.shop.tenant_id: 5}
    assert before[0] - await messages(first) == gone_with_the_day.get(first.tenant_id, 0)
    assert before[1] - await messages(second) == 3 + gone_with_the_day.get(second.tenant_id, 0)


async def test_no_day_is_written_down_with_the_texts_of_a_tenant_that_failed(
    ledger: Ledger, other_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = await fails(ledger, monkeypatch, "blank_tenant", ledger.shop)
    assert keeping.last is not None
    assert "Old days wait" in keeping.last.detail
    assert await ledger.is_there()
    assert await messages(ledger.shop) == 7
    monkeypatch.undo()
    await sweeper(ledger).sweep(NOW)
    assert {row["message_text"] for row in ledger.archived()} == {""}


async def test_a_database_that_is_away_is_not_asked_for_each_tenant(
    ledger: Ledger, other_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = in_turn(ledger.shop, other_shop)
    failing = Failing(retention.blank_tenant, first.tenant_id)

    async def away(_: Database) -> None:
        raise StoreUnavailableError("It is away.")

    monkeypatch.setattr(retention, "blank_tenant", failing)
    monkeypatch.setattr(Database, "ping", away)
    await sweeper(ledger).sweep(NOW)
    assert failing.swept == [first.tenant_id]
    keeping = await sweeps.fetch_keeping(ledger.shop.database)
    assert keeping.last is not None
    assert (keeping.last.outcome, keeping.last.detail) == ("failed", "It is away.")
