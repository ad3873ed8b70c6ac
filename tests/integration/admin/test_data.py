"""What is stored is handed out whole and without secrets, and erased when that is confirmed."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from flowhq.admin.ports import Store
from flowhq.admin.store import PostgresStore
from flowhq.db import portable
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.errors import StoreUnavailableError
from flowhq.model import (
    InboundMessage,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    Reply,
    SessionState,
    Source,
    TenantId,
)
from flowhq.steps import ConversationView, Decision, Outcome, Recorded
from tests.fakes.admin import FakeAudit, FakeFleet
from tests.fakes.clock import PATIENCE_S
from tests.integration.admin.conftest import PASSWORD, Answer, Api, basic
from tests.pg import execute, fetchval

ASHA = "255711111111"
JUMA = "255722222222"
SECRET_CODE = "2@the-code-to-scan"


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


class Shop:
    """A tenant whose customers write."""

    def __init__(self, tenant_id: str, ledger: PostgresLedger) -> None:
        self.tenant_id = TenantId(UUID(tenant_id))
        self.path = f"/admin/tenants/{tenant_id}"
        self.ledger = ledger
        self._count = 0

    async def receive(self, customer: str, text: str, *, answered: bool = True) -> Recorded:
        self._count += 1
        recorded = await self.ledger.record(
            InboundMessage(
                message_id=MessageId(f"3EB0{self._count:018X}"),
                chat=Jid(f"{customer}@c.us"),
                from_me=False,
                kind=MessageKind.TEXT,
                text=text,
                at=datetime.now(UTC) - timedelta(minutes=5),
                source=Source.LIVE,
                sender=Jid(f"{customer}@c.us"),
                phone=customer,
            ),
            state=InboxState.NEW,
        )

        def decide(message: InboundMessage, view: ConversationView) -> Decision:
            return Decision(Outcome.DONE, "echo", (Reply(f"Jibu: {message.text}", "echo"),))

        if answered:
            await self.ledger.process(recorded.key, decide)
        return recorded


@pytest.fixture
async def shop(api: Api, database: Database, postgres_url: str) -> Shop:
    tenant_id = await api.create(details={"services": [{"name": "Kusuka"}]})
    key = (await load_installation(postgres_url)).tenant_key(TenantId(UUID(tenant_id)))
    shop = Shop(tenant_id, PostgresLedger(database, TenantId(UUID(tenant_id)), key))
    await shop.receive(ASHA, "Siri ya Asha")
    await shop.receive(JUMA, "Siri ya Juma")
    async with database.tenant(shop.tenant_id) as tx:
        await tx.execute(
            "UPDATE whatsapp_sessions SET last_qr = $1, last_qr_text = $1",
            SECRET_CODE.encode(),
        )
    return shop


def lines_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert "attachment" in answer.headers["Content-Disposition"]
    lines = [json.loads(line) for line in answer.raw.splitlines()]
    assert (lines[0]["type"], lines[-1]["type"]) == ("flowhq-export", "end")
    assert lines[-1]["rows"] == len(lines) - 2
    return lines[1:-1]


async def exported(api: Api, shop: Shop, number: str) -> Answer:
    return await api.call("POST", f"{shop.path}/contacts/export", json={"number": number})


async def erased(api: Api, shop: Shop, number: str, confirm: str = "") -> Answer:
    body = {"number": number, "confirm": confirm or number}
    return await api.call("POST", f"{shop.path}/contacts/erase", json=body)


async def test_an_export_is_entered_in_the_audit(api: Api, shop: Shop, audit: FakeAudit) -> None:
    audit.entries.clear()
    lines_of(await api.call("GET", f"{shop.path}/export"))
    lines_of(await exported(api, shop, f"+{ASHA}"))
    assert [
        (row.entry.route, row.entry.principal, row.entry.tenant_id, row.status)
        for row in audit.entries.values()
    ] == [
        ("export_tenant", "user:admin", shop.tenant_id, 200),
        ("export_contact", "user:admin", shop.tenant_id, 200),
    ]
    assert ASHA not in str(audit.entries)
    viewer = {"Authorization": "Bearer none"}
    assert (await api.call("GET", f"{shop.path}/export", headers=viewer)).status == 401
    assert len(audit.entries) == 2


async def test_a_tenants_export_has_every_row_and_no_secret(
    api: Api, shop: Shop, database: Database
) -> None:
    other = await api.create("+255712345679", name="Duka Jirani")
    answer = await api.call("GET", f"{shop.path}/export")
    rows = lines_of(answer)
    counts = Counter(row["table"] for row in rows)
    async with database.tenant(shop.tenant_id) as tx:
        assert dict(counts) == await portable.count_rows(tx, shop.tenant_id)
    assert counts["message_logs"] == 4
    assert counts["contacts"] == 2
    texts = {row["row"]["message_text"] for row in rows if row["table"] == "message_logs"}
    assert texts == {"Siri ya Asha", "Siri ya Juma", "Jibu: Siri ya Asha", "Jibu: Siri ya Juma"}
    assert SECRET_CODE.encode() not in answer.raw
    assert other.encode() not in answer.raw


FILL_LOGS = """
INSERT INTO message_logs (tenant_id, direction, from_number, to_number, message_text, status,
    created_at)
SELECT $1, 'IN', 'a', 'b', n::text, 'received', now() - n / 3 * interval '1 second'
FROM generate_series(1, $2::int) AS n
"""


async def test_a_long_table_is_exported_in_its_order_and_once(
    api: Api, shop: Shop, database: Database
) -> None:
    count = portable.BATCH * 2 + 7
    async with database.tenant(shop.tenant_id) as tx:
        await tx.execute(FILL_LOGS, shop.tenant_id, count)
    rows = lines_of(await api.call("GET", f"{shop.path}/export"))
    logs = [row["row"] for row in rows if row["table"] == "message_logs"]
    assert len({row["id"] for row in logs}) == len(logs) == count + 4
    keys = [(datetime.fromisoformat(row["created_at"]), UUID(row["id"])) for row in logs]
    assert keys == sorted(keys)


class TestWithAStoreThatBreaks:
    @pytest.fixture
    def store(self, database: Database) -> Store:
        class Breaking(PostgresStore):
            async def read_tenant(self, tenant_id: TenantId) -> Any:
                yield portable.ExportedRow("tenants", {"id": "x" * 100_000})
                raise StoreUnavailableError("The database is away.")

        return Breaking(database)

    async def test_an_export_that_breaks_off_has_no_end(self, api: Api) -> None:
        path = f"{api.base}/admin/tenants/{await api.create()}/export"
        headers = {"Authorization": basic(PASSWORD)}
        async with api.session.get(path, headers=headers) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientError):
                await response.read()


async def test_a_contacts_export_is_about_that_contact_alone(api: Api, shop: Shop) -> None:
    for number in (f"+{ASHA}", "00255 711 111 111", f"{ASHA}@c.us"):
        answer = await exported(api, shop, number)
        counts = Counter(row["table"] for row in lines_of(answer))
        assert counts == {
            "contacts": 1,
            "conversations": 1,
            "chat_aliases": 1,
            "chat_cursors": 1,
            "message_logs": 2,
            "inbox": 1,
            "outbox": 1,
        }
        assert b"Siri ya Asha" in answer.raw
        assert b"Juma" not in answer.raw
        assert JUMA.encode() not in answer.raw


async def test_an_erased_contact_is_in_no_table_any_more(
    api: Api, shop: Shop, postgres_url: str
) -> None:
    await shop.receive(ASHA, "Bado", answered=False)
    chat = (await api.call("GET", f"{shop.path}/chats")).body["items"][0]["id"]
    await execute(
        postgres_url,
        "UPDATE conversations SET muted_until = now() + interval '1 hour'",
    )
    await api.call("POST", f"{shop.path}/chats/{chat}/resume", headers={"Idempotency-Key": "k1"})
    books = (await api.call("GET", f"{shop.path}/accounting")).body
    answer = await erased(api, shop, f"+{ASHA}")
    assert answer.status == 200
    counted = {name: answer.body[name] for name in ("chats", "messages", "received", "planned")}
    assert counted == {"chats": 1, "messages": 3, "received": 2, "planned": 1}
    for table in ("tenants", *(part.table for part in portable.EXPORTED), "idempotency_keys"):
        stored = await fetchval(
            postgres_url,
            f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t",  # noqa: S608
        )
        for trace in (ASHA, "+255…111", "Siri ya Asha", "Bado"):
            assert trace not in stored, table
    whole = (await api.call("GET", f"{shop.path}/export")).raw
    assert b"Siri ya Juma" in whole
    after = (await api.call("GET", f"{shop.path}/accounting")).body
    assert (after["received"], after["answered"]) == (books["received"], books["answered"])
    assert (after["waiting"], after["skipped"]) == (0, {"erased": 1})
    assert after["replies"]["cancelled"] == 1
    assert (await exported(api, shop, f"+{ASHA}")).kind == "not-found"
    assert (await erased(api, shop, f"+{ASHA}")).kind == "not-found"


async def test_an_erased_message_does_not_come_back_and_its_writer_may(
    api: Api, shop: Shop
) -> None:
    old = await shop.receive(ASHA, "Bado", answered=False)
    await erased(api, shop, f"+{ASHA}")
    shop._count -= 1  # noqa: SLF001 - the same message once more
    again = await shop.receive(ASHA, "Bado", answered=False)
    assert (old.fresh, again.fresh) == (True, False)
    explained = await api.call("GET", f"{shop.path}/messages/{again.key.message_id}")
    assert "forgotten on request" in explained.body["answer"]
    fresh = await shop.receive(ASHA, "Nimerudi")
    assert fresh.fresh
    assert len(lines_of(await exported(api, shop, f"+{ASHA}"))) == 8


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"number": f"+{ASHA}"}, "confirm"),
        ({"number": f"+{ASHA}", "confirm": f"+{JUMA}"}, "confirm"),
        ({"number": f"+{ASHA}", "confirm": ""}, "confirm"),
        ({"number": "0711111111", "confirm": f"+{ASHA}"}, "number"),
        ({"confirm": f"+{ASHA}"}, "number"),
    ],
)
async def test_an_erasure_that_is_not_confirmed_erases_nothing(
    api: Api, shop: Shop, body: dict[str, Any], field: str
) -> None:
    answer = await api.call("POST", f"{shop.path}/contacts/erase", json=body)
    assert (answer.status, answer.fields) == (400, [field])
    assert len(lines_of(await exported(api, shop, f"+{ASHA}"))) == 8


async def test_an_erased_tenant_leaves_a_receipt_and_no_row(
    api: Api, shop: Shop, fleet: FakeFleet, postgres_url: str
) -> None:
    rows = Counter(row["table"] for row in lines_of(await api.call("GET", f"{shop.path}/export")))
    for confirm in ("mama asha", "", "Mama Asha "):
        refused = await api.call("POST", f"{shop.path}/erase", json={"confirm": confirm})
        assert (refused.status, refused.fields) == (400, ["confirm"])
    assert fleet.calls == []
    answer = await api.call("POST", f"{shop.path}/erase", json={"confirm": "Mama Asha"})
    assert (answer.status, answer.body["rows"]) == (200, dict(rows))
    assert answer.body["unlinked"] is False
    assert [verb for verb, _ in fleet.calls] == ["forget"]
    for part in portable.EXPORTED:
        count = f"SELECT count(*) FROM {part.table}"  # noqa: S608 - the names stand there
        assert await fetchval(postgres_url, count) == 0, part.table
    assert (await api.call("GET", shop.path)).status == 404


async def test_a_connected_tenants_phone_is_told(api: Api, shop: Shop, fleet: FakeFleet) -> None:
    await fleet.start(shop.tenant_id)
    seen = fleet.seen[shop.tenant_id]
    fleet.seen[shop.tenant_id] = replace(seen, session=SessionState.CONNECTED)
    answer = await api.call("POST", f"{shop.path}/erase", json={"confirm": "Mama Asha"})
    assert answer.body["unlinked"] is True


async def test_head_of_an_export_leaves_the_connection_to_the_next_request(api: Api) -> None:
    """A body after HEAD would be read as the beginning of the next answer."""
    path = f"/admin/tenants/{await api.create()}/export"
    host, _, port = api.base.removeprefix("http://").partition(":")
    head = f"Host: {host}:{port}\r\nAuthorization: {basic(PASSWORD)}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE_S):
        writer.write(f"HEAD {path} HTTP/1.1\r\n{head}".encode())
        first = await reader.readuntil(b"\r\n\r\n")
        writer.write(f"GET /health HTTP/1.1\r\n{head}".encode())
        second = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert first.startswith(b"HTTP/1.1 200 ")
    assert b"application/x-ndjson" in first
    assert second.startswith(b"HTTP/1.1 200 ")
