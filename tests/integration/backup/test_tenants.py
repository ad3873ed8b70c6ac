"""A tenant goes into a file and comes out of it on another installation: whole, or not at all."""

import asyncio
import shutil
import socket
import stat
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from flowhq.backup import restoring
from flowhq.backup.archive import ArchiveReader, ArchiveWriter
from flowhq.backup.envelope import GivenKey
from flowhq.bot.lifecycle import Event, Lifecycle
from flowhq.db import copying, datakeys
from flowhq.db.ledger import PostgresLedger
from flowhq.db.migrate import load_migrations
from flowhq.db.owner import owner_connection
from flowhq.db.sessions import fetch_session
from flowhq.db.states import PostgresStatusBook
from flowhq.db.tenants import fetch_tenant
from flowhq.errors import (
    AlreadyExistsError,
    BackupError,
    FlowHQError,
    NotFoundError,
    WrongStateError,
)
from flowhq.model import DesiredState, InboxState, SessionState, TenantId, TenantStatus
from tests.fakes.clock import until
from tests.integration.backup.conftest import LOCK, PAIRING, House, Shop, open_shop
from tests.integration.db.messages import TEXT, message, say

PLACE = {"column": "webhooks.secret", "row": "1"}
# What a restore numbers anew, or says otherwise of a tenant that does not run there yet.
OWN_TO_A_PLACE = {
    "tenants": {"updated_at", "desired_state", "status", "reason", "detail"},
    "whatsapp_sessions": {"state"},
    "worker_processes": {"status"},
    "tenant_spans": {"until_at"},
}


async def rows_of(house: House, tenant_id: TenantId) -> dict[str, list[dict[str, Any]]]:
    """All that the tenant has, without what belongs to the one place."""
    found: dict[str, list[dict[str, Any]]] = {table.name: [] for table in copying.TABLES}
    async with house.database.snapshot(tenant_id) as tx:
        async for name, lines in copying.read_rows(tx, tenant_id):
            found[name] += [orjson.loads(line) for line in lines]
    for table in copying.TABLES:
        for row in found[table.name]:
            for column in {*table.anew, *OWN_TO_A_PLACE.get(table.name, ())}:
                del row[column]
    return found


async def nothing_is_there(house: House, tenant_id: TenantId) -> bool:
    async with house.database.tenant(tenant_id) as tx:
        counts = [
            await tx.fetchval(f"SELECT count(*) FROM {table.name}")  # noqa: S608
            for table in copying.TABLES
        ]
        counts.append(await tx.fetchval("SELECT count(*) FROM data_keys"))
    folders = list(house.profiles.iterdir()) if house.profiles.exists() else []
    return not any(counts) and folders == []


@pytest.fixture
async def file(here: House, shop: Shop, tmp_path: Path) -> Path:
    target = tmp_path / "shop.backup"
    await here.take(shop.tenant_id, target)
    return target


async def test_every_table_of_tenants_is_carried_or_left_out_for_a_reason(here: House) -> None:
    async with owner_connection(here.url) as connection:
        found = await connection.fetch(
            """
            SELECT c.relname::text AS name, array(
                SELECT i.attname::text FROM pg_attribute i
                WHERE i.attrelid = c.oid AND i.attidentity <> ''
            ) AS numbered
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                AND c.relnamespace = 'public'::regnamespace
                AND (a.attname = 'tenant_id' OR c.relname = 'tenants' AND a.attname = 'id')
            """
        )
    carried = {table.name: set(table.anew) for table in copying.TABLES}
    assert {row["name"] for row in found} == carried.keys() | copying.LEFT_OUT.keys()
    assert not carried.keys() & copying.LEFT_OUT.keys()
    assert all(copying.LEFT_OUT.values())
    numbered = {row["name"]: set(row["numbered"]) for row in found if row["name"] in carried}
    assert numbered == carried


async def test_all_of_it_comes_back(
    here: House, there: House, shop: Shop, file: Path, tmp_path: Path
) -> None:
    before = await rows_of(here, shop.tenant_id)
    assert all(before[table] for table in ("message_logs", "inbox", "outbox", "contacts"))
    done = await there.restore(file)
    after = await rows_of(there, shop.tenant_id)
    told = after["tenant_events"].pop()
    assert (told["event"], "Restored from the backup" in told["detail"]) == ("restored", True)
    assert after == before
    assert done.tenant_id == shop.tenant_id
    assert (done.paired, done.files) == (True, 1)
    pairing = there.profile(shop.tenant_id) / PAIRING
    assert pairing.read_bytes() == (here.profile(shop.tenant_id) / PAIRING).read_bytes()
    assert stat.S_IMODE(there.profile(shop.tenant_id).stat().st_mode) == 0o700
    assert [path.name for path in there.profiles.iterdir()] == [str(shop.tenant_id)]


async def test_it_stands_there_stopped_and_paired(
    here: House, there: House, shop: Shop, tmp_path: Path
) -> None:
    lifecycle = Lifecycle(
        shop.tenant_id,
        PostgresStatusBook(here.database),
        desired=DesiredState.RUNNING,
        paired=True,
        paused=False,
    )
    await lifecycle.apply(Event.START)
    await here.take(shop.tenant_id, tmp_path / "b")
    taken_at = datetime.now(UTC)
    await there.restore(tmp_path / "b")
    row = await fetch_tenant(there.database, shop.tenant_id)
    assert (row.desired, row.status) == (DesiredState.STOPPED, TenantStatus.PAUSED)
    assert row.paired_at is not None
    session = await fetch_session(there.database, shop.tenant_id)
    assert (session.state, session.own_jid) == (SessionState.DISCONNECTED, "255700000001@c.us")
    async with there.database.tenant(shop.tenant_id) as tx:
        spans = await tx.fetch("SELECT until_at FROM tenant_spans WHERE kind = 'wanted'")
    assert len(spans) == 1
    assert abs(spans[0]["until_at"] - taken_at) < timedelta(minutes=1)


async def test_a_reply_in_flight_keeps_its_id_and_is_planned_once(
    here: House, there: House, shop: Shop, file: Path
) -> None:
    (planned,) = await shop.ledger.unsettled()
    await there.restore(file)
    key = await datakeys.message_key(there.database, there.installation, shop.tenant_id)
    assert key == here.installation.tenant_key(shop.tenant_id)
    assert key != there.installation.tenant_key(shop.tenant_id)
    ledger = PostgresLedger(there.database, shop.tenant_id, key)
    (found,) = await ledger.unsettled()
    assert (found.client_id, found.text) == (planned.client_id, "Bei ni 15000")
    again = await ledger.record(TEXT, state=InboxState.NEW)
    assert not again.fresh
    assert await ledger.process(again.key, say("mara ya pili")) == []
    fresh = await ledger.record(message("3A000002"), state=InboxState.NEW)
    there_planned = await ledger.process(fresh.key, say("Karibu tena"))
    fresh = await shop.ledger.record(message("3A000002"), state=InboxState.NEW)
    here_planned = await shop.ledger.process(fresh.key, say("Karibu tena"))
    assert [one.client_id for one in there_planned] == [one.client_id for one in here_planned]


async def test_what_was_sealed_opens_there_and_a_second_move_keeps_that(
    here: House, there: House, shop: Shop, tmp_path: Path
) -> None:
    async with here.database.tenant(shop.tenant_id) as tx:
        sealed = (await datakeys.tenant_key(tx, shop.tenant_id)).seal("siri", **PLACE)
    await here.take(shop.tenant_id, tmp_path / "one")
    await there.restore(tmp_path / "one")
    async with there.database.tenant(shop.tenant_id) as tx:
        assert (await datakeys.tenant_key(tx, shop.tenant_id)).open(sealed, **PLACE) == "siri"
    await there.take(shop.tenant_id, tmp_path / "two")
    with (tmp_path / "two").open("rb") as file:
        reader = ArchiveReader(file, LOCK)
        manifest = reader.manifest()
        reader.close()
    assert manifest.message_key == here.installation.tenant_key(shop.tenant_id).hex()


async def test_numbers_that_others_have_there_are_given_anew(
    here: House, there: House, shop: Shop, file: Path
) -> None:
    neighbour = await open_shop(there, "+255700000009")
    for number in range(3):
        recorded = await neighbour.ledger.record(message(f"3B{number}"), state=InboxState.NEW)
        await neighbour.ledger.process(recorded.key, say("Karibu", "Sana"))
    before = await rows_of(there, neighbour.tenant_id)
    await there.restore(file)
    assert await rows_of(there, neighbour.tenant_id) == before
    assert len((await rows_of(there, shop.tenant_id))["outbox"]) == 2


async def test_messages_of_old_days_get_partitions_of_their_days(
    here: House, there: House, shop: Shop, tmp_path: Path
) -> None:
    old = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    async with here.database.tenant(shop.tenant_id) as tx:
        await tx.execute("UPDATE message_logs SET created_at = $1 WHERE direction = 'IN'", old)
    await here.take(shop.tenant_id, tmp_path / "b")
    await there.restore(tmp_path / "b")
    async with there.database.tenant(shop.tenant_id) as tx:
        places = await tx.fetch(
            "SELECT tableoid::regclass::text AS place FROM message_logs WHERE direction = 'IN'"
        )
    assert [row["place"] for row in places] == ["message_logs_20260131"]


async def test_only_its_owner_can_read_the_file_and_nothing_in_it_is_in_the_clear(
    here: House, shop: Shop, file: Path
) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_bytes()
    for secret in (b"Habari", b"Karibu", b"255700000001", here.installation.secret):
        assert secret not in content
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == [file.name]


async def test_a_tenant_that_is_there_is_left_as_it_is(here: House, shop: Shop, file: Path) -> None:
    before = await rows_of(here, shop.tenant_id)
    with pytest.raises(AlreadyExistsError, match=f"{shop.tenant_id} exists here already"):
        await here.restore(file)
    assert await rows_of(here, shop.tenant_id) == before
    assert (here.profile(shop.tenant_id) / PAIRING).exists()


async def test_a_profile_without_its_tenant_is_named_and_kept(
    there: House, shop: Shop, file: Path
) -> None:
    left_over = there.profile(shop.tenant_id) / PAIRING
    left_over.parent.mkdir(parents=True)
    left_over.write_text("left over")
    with pytest.raises(AlreadyExistsError, match="profile") as refused:
        await there.restore(file)
    assert str(there.profile(shop.tenant_id)) in refused.value.next_step
    assert left_over.read_text() == "left over"


async def test_a_number_that_another_tenant_has_is_refused_and_nothing_is_left(
    there: House, shop: Shop, file: Path
) -> None:
    neighbour = await open_shop(there, "+255700000001")
    with pytest.raises(AlreadyExistsError) as refused:
        await there.restore(file)
    assert refused.value.field == "phone_number"
    shutil.rmtree(there.profile(neighbour.tenant_id))
    assert await nothing_is_there(there, shop.tenant_id)


async def test_another_schema_is_refused_with_both_versions(
    here: House, there: House, shop: Shop, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = len(load_migrations())

    async def older(_: str) -> int:
        return known - 1

    monkeypatch.setattr("flowhq.db.migrate.require_current", older)
    with pytest.raises(BackupError, match=f"version {known}, this database is at {known - 1}"):
        await there.restore(file)
    assert await nothing_is_there(there, shop.tenant_id)


def cut(at: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * at)]


def flip(at: float) -> Callable[[bytes], bytes]:
    def broken(content: bytes) -> bytes:
        place = int(len(content) * at)
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return broken


@pytest.mark.parametrize(
    "harm",
    [cut(0), cut(0.02), cut(0.5), cut(0.999), flip(0.01), flip(0.5), flip(0.999)],
    ids=["empty", "head", "half", "tail", "flip-head", "flip-middle", "flip-tail"],
)
async def test_a_cut_or_altered_file_leaves_nothing(
    there: House, shop: Shop, file: Path, harm: Callable[[bytes], bytes]
) -> None:
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(BackupError) as refused:
        await there.restore(file)
    assert refused.value.next_step
    assert await nothing_is_there(there, shop.tenant_id)


async def test_another_key_leaves_nothing(there: House, shop: Shop, file: Path) -> None:
    site = restoring.Site(there.url, there.database, there.profiles)
    with pytest.raises(BackupError, match="another passphrase or key"):
        await restoring.restore(site, file, GivenKey(b"x" * 32))
    assert await nothing_is_there(there, shop.tenant_id)


async def test_a_file_cannot_bring_in_rows_of_another_tenant(
    here: House, there: House, shop: Shop, file: Path, tmp_path: Path
) -> None:
    neighbour = await open_shop(there, "+255700000009")
    forged = tmp_path / "forged"
    with file.open("rb") as genuine, forged.open("wb") as target:
        reader, writer = ArchiveReader(genuine, LOCK), ArchiveWriter(target, LOCK)
        writer.add_manifest(reader.manifest())
        reader.extract_profile(tmp_path / "profile")
        while (piece := reader.next_piece()) is not None:
            lines = [
                line.replace(str(shop.tenant_id), str(neighbour.tenant_id))
                if piece.table == "contacts"
                else line
                for line in piece.lines
            ]
            writer.add_rows(piece.table, lines)
        writer.finish()
        reader.close()
    before = await rows_of(there, neighbour.tenant_id)
    with pytest.raises(BackupError, match="rows of contacts"):
        await there.restore(forged)
    assert await rows_of(there, neighbour.tenant_id) == before


async def test_of_two_restores_at_once_one_wins_whole(there: House, shop: Shop, file: Path) -> None:
    outcomes = await asyncio.gather(
        there.restore(file), there.restore(file), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, FlowHQError)]
    assert len(refused) == 1
    assert len((await rows_of(there, shop.tenant_id))["tenants"]) == 1
    assert (there.profile(shop.tenant_id) / PAIRING).exists()
    assert [path.name for path in there.profiles.iterdir()] == [str(shop.tenant_id)]


async def test_an_unpaired_tenant_without_a_profile_comes_back_as_new(
    here: House, there: House, tmp_path: Path
) -> None:
    shop = await open_shop(here, "+255700000003")
    shutil.rmtree(here.profile(shop.tenant_id))
    await here.take(shop.tenant_id, tmp_path / "b")
    done = await there.restore(tmp_path / "b")
    assert (done.paired, done.files) == (False, 0)
    row = await fetch_tenant(there.database, shop.tenant_id)
    assert (row.status, row.paired_at) == (TenantStatus.NEW, None)
    assert not there.profile(shop.tenant_id).exists()


async def test_an_existing_file_is_never_replaced(here: House, shop: Shop, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(BackupError, match="exists already"):
        await here.take(shop.tenant_id, file)
    assert file.read_bytes() == before


async def test_a_failed_backup_leaves_no_file(here: House, shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(NotFoundError):
        await here.take(TenantId(uuid4()), folder / "b")
    with pytest.raises(BackupError, match="not written"):
        await here.take(shop.tenant_id, folder / "nowhere" / "b")
    assert list(folder.iterdir()) == []


async def test_a_backup_that_is_cancelled_ends_at_once_and_leaves_no_file(
    here: House, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (here.profile(shop.tenant_id) / "endless").open("wb") as file:
        file.truncate(1 << 33)
    folder = tmp_path / "backups"
    folder.mkdir()
    begun, ended = threading.Event(), threading.Event()
    add_profile = ArchiveWriter.add_profile

    def told(writer: ArchiveWriter, profile: Path) -> None:
        begun.set()
        try:
            add_profile(writer, profile)
        finally:
            ended.set()

    monkeypatch.setattr(ArchiveWriter, "add_profile", told)
    taking = asyncio.create_task(here.take(shop.tenant_id, folder / "b"))
    await until(begun.is_set)
    assert len(list(folder.iterdir())) == 1
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert ended.is_set()
    assert list(folder.iterdir()) == []


async def test_a_profile_in_use_is_refused(here: House, shop: Shop, tmp_path: Path) -> None:
    profile = here.profile(shop.tenant_id)
    browser = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(600)", f"--user-data-dir={profile}"
    )
    try:
        (profile / "SingletonLock").symlink_to(f"{socket.gethostname()}-{browser.pid}")
        with pytest.raises(WrongStateError, match="is running") as refused:
            await here.take(shop.tenant_id, tmp_path / "b")
        assert f"/admin/tenants/{shop.tenant_id}/backup" in refused.value.next_step
    finally:
        browser.kill()
        await browser.wait()
    assert not (tmp_path / "b").exists()
    await here.take(shop.tenant_id, tmp_path / "b")


async def test_a_broken_data_key_is_named_and_stops_the_backup(
    here: House, shop: Shop, tmp_path: Path
) -> None:
    async with here.database.tenant(shop.tenant_id) as tx:
        await datakeys.tenant_key(tx, shop.tenant_id)
        await tx.execute("UPDATE data_keys SET wrapped = wrapped || 'x'")
    with pytest.raises(FlowHQError, match=f"data key of tenant {shop.tenant_id}"):
        await here.take(shop.tenant_id, tmp_path / "b")
    assert not (tmp_path / "b").exists()
