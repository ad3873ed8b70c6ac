"""The API on a real database: logs, history and code as they are stored, and nothing foreign."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from flowhq.admin.store import PostgresStore
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.states import PostgresStatusBook
from flowhq.model import (
    DesiredState,
    InboundMessage,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    Reason,
    Reply,
    SessionState,
    Source,
    TenantId,
    TenantSnapshot,
    TenantStatus,
    WorkerStatus,
)
from flowhq.qr import png_data_url
from flowhq.steps import ConversationView, Decision, Outcome
from tests.fakes.admin import FakeFleet
from tests.integration.admin.conftest import Api

CUSTOMER = "255711111111"


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@dataclass(frozen=True)
class Shop:
    tenant_id: TenantId
    path: str
    ledger: PostgresLedger

    async def receive(self, number: int, text: str) -> None:
        """A customer's message, answered."""
        recorded = await self.ledger.record(
            InboundMessage(
                message_id=MessageId(f"3EB0{number:018X}"),
                chat=Jid(f"{CUSTOMER}@c.us"),
                from_me=False,
                kind=MessageKind.TEXT,
                text=text,
                at=datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=number),
                source=Source.LIVE,
                sender=Jid(f"{CUSTOMER}@c.us"),
                phone=CUSTOMER,
            ),
            state=InboxState.NEW,
        )

        def decide(message: InboundMessage, view: ConversationView) -> Decision:
            return Decision(Outcome.DONE, "echo", (Reply(f"Jibu: {message.text}", "echo"),))

        await self.ledger.process(recorded.key, decide)

    def snapshot(self, status: TenantStatus, session: SessionState, reason: Reason) -> Any:
        return TenantSnapshot(
            tenant_id=self.tenant_id,
            status=status,
            session=session,
            worker=WorkerStatus.RUNNING,
            desired=DesiredState.RUNNING,
            reason=reason,
            next_action="",
        )


async def _shop(api: Api, database: Database, url: str, phone: str) -> Shop:
    tenant_id = TenantId(UUID(await api.create(phone)))
    key = (await load_installation(url)).tenant_key(tenant_id)
    return Shop(tenant_id, f"/admin/tenants/{tenant_id}", PostgresLedger(database, tenant_id, key))


@pytest.fixture
async def shop(api: Api, database: Database, postgres_url: str) -> Shop:
    return await _shop(api, database, postgres_url, "+255700000001")


@pytest.fixture
async def other_shop(api: Api, database: Database, postgres_url: str) -> Shop:
    return await _shop(api, database, postgres_url, "+255700000002")


async def _all_pages(api: Api, path: str, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    place: str | None = ""
    for _ in range(50):
        page = (await api.call("GET", f"{path}?limit={limit}{place}")).body
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        place = f"&before={page['next']}"
    raise AssertionError("the pages do not end")


async def test_question_and_answer_are_in_the_log_newest_first(api: Api, shop: Shop) -> None:
    await shop.receive(1, "Habari")
    page = (await api.call("GET", f"{shop.path}/logs")).body
    assert page["next"] is None
    answer, question = page["items"]
    assert (question["direction"], question["message_text"]) == ("IN", "Habari")
    assert (question["status"], question["type"]) == ("received", "text")
    assert CUSTOMER in question["from_number"]
    assert (answer["direction"], answer["message_text"]) == ("OUT", "Jibu: Habari")
    assert answer["status"] == "queued"
    assert CUSTOMER in answer["to_number"]
    assert answer["conversation_id"] == question["conversation_id"]


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_of_logs_join_without_gap_or_repeat(api: Api, shop: Shop, limit: int) -> None:
    for number in range(5):
        await shop.receive(number, f"Swali {number}")
    items = await _all_pages(api, f"{shop.path}/logs", limit)
    assert len({item["id"] for item in items}) == len(items) == 10
    asked = [item["message_text"] for item in items if item["direction"] == "IN"]
    assert asked == [f"Swali {number}" for number in (4, 3, 2, 1, 0)]


async def test_nothing_of_one_tenant_is_in_anothers_answers(
    api: Api, shop: Shop, other_shop: Shop, database: Database
) -> None:
    await shop.receive(1, "siri ya kwanza")
    await PostgresStatusBook(database).save(
        shop.snapshot(TenantStatus.ERROR, SessionState.DISCONNECTED, Reason.BLOCKED),
        event="park",
        actor="supervisor",
    )
    place = (await api.call("GET", f"{shop.path}/logs?limit=1")).body["next"]
    for path in ("", "/logs", "/events", "/qr", f"/logs?before={place}"):
        answer = await api.call("GET", f"{other_shop.path}{path}")
        assert answer.status == 200
        assert b"siri" not in answer.raw
        assert str(shop.tenant_id).encode() not in answer.raw
        assert b"BLOCKED" not in answer.raw


async def test_changes_of_state_are_told_newest_first(
    api: Api, shop: Shop, database: Database
) -> None:
    book = PostgresStatusBook(database)
    for status, session, reason, event in (
        (TenantStatus.QR_PENDING, SessionState.DISCONNECTED, Reason.STARTING, "start"),
        (TenantStatus.QR_PENDING, SessionState.QR_READY, Reason.SCAN_QR, "qr_shown"),
        (TenantStatus.ACTIVE, SessionState.CONNECTED, Reason.CONNECTED, "ready"),
    ):
        await book.save(shop.snapshot(status, session, reason), event=event, actor="channel")
    items = await _all_pages(api, f"{shop.path}/events", 2)
    assert [(item["event"], item["to_status"]) for item in items] == [
        ("ready", "ACTIVE"),
        ("qr_shown", "QR_PENDING"),
        ("start", "QR_PENDING"),
    ]
    assert items[-1]["from_status"] == "NEW"
    tenant = (await api.call("GET", shop.path)).body
    assert (tenant["status"], tenant["session"]["state"]) == ("ACTIVE", "CONNECTED")
    assert tenant["desired_state"] == "RUNNING"


async def test_the_code_is_shown_until_it_is_scanned(
    api: Api, shop: Shop, database: Database, fleet: FakeFleet
) -> None:
    book = PostgresStatusBook(database)
    code = "2@a,b,c,d,1"
    expires_at = datetime.now(UTC) + timedelta(minutes=10)
    await book.save(
        shop.snapshot(TenantStatus.QR_PENDING, SessionState.QR_READY, Reason.SCAN_QR),
        event="qr_shown",
        actor="channel",
    )
    await shop.ledger.save_qr(text=code, data_url=png_data_url(code), expires_at=expires_at)
    answer = (await api.call("GET", f"{shop.path}/qr?wait=10")).body
    assert (answer["state"], answer["qr"]) == ("QR_READY", png_data_url(code))
    assert (answer["reason"], bool(answer["next_action"])) == ("SCAN_QR", True)
    assert (await api.call("GET", f"{shop.path}/qr?format=raw")).raw.decode() == code
    await shop.ledger.save_identity(phone="255700000001", lid="")
    await book.save(
        shop.snapshot(TenantStatus.ACTIVE, SessionState.CONNECTED, Reason.CONNECTED),
        event="ready",
        actor="channel",
    )
    answer = (await api.call("GET", f"{shop.path}/qr?wait=10")).body
    assert (answer["state"], answer["qr"]) == ("CONNECTED", None)


async def test_a_deleted_tenant_leaves_no_row(
    api: Api, shop: Shop, other_shop: Shop, database: Database
) -> None:
    await shop.receive(1, "Habari")
    await other_shop.receive(1, "Mambo")
    assert (await api.call("DELETE", shop.path)).status == 204
    for below in ("", "/logs", "/events", "/qr"):
        assert (await api.call("GET", shop.path + below)).status == 404
    async with database.tenant(shop.tenant_id) as tx:
        for table in ("message_logs", "inbox", "outbox", "tenant_configs"):
            count = f"SELECT count(*) FROM {table}"  # noqa: S608 - the names stand above
            assert await tx.fetchval(count) == 0, table
    assert len((await api.call("GET", f"{other_shop.path}/logs")).body["items"]) == 2


@pytest.mark.parametrize(
    ("below", "field"),
    [
        ("/logs?before=MjAyNg", "before"),
        ("/logs?before=5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a", "before"),
        ("/logs?before=OTk5OS0xMi0zMVQyMzo1OTo1OS45OTk5OTktMjM6NTl8eA", "before"),
        ("/events?before=-1", "before"),
        ("/events?before=99999999999999999999", "before"),
    ],
)
async def test_a_place_that_is_none_is_refused(
    api: Api, shop: Shop, below: str, field: str
) -> None:
    answer = await api.call("GET", shop.path + below)
    assert (answer.status, answer.fields) == (400, [field])
    answer = await api.call("GET", "/admin/tenants?after=nowhere")
    assert (answer.status, answer.fields) == (400, ["after"])


async def test_what_was_given_comes_back_to_the_letter(api: Api) -> None:
    details = {
        "services": [{"name": "Kusuka 'nywele' \U0001f487 -- \\u0000", "price": 15000.5}],
        "greeting": {"sw": "Karibu\nsana"},
    }
    name = "Asha'; DROP TABLE tenants; -- \U0001f600"
    tenant_id = await api.create(name=name, details=details)
    tenant = (await api.call("GET", f"/admin/tenants/{tenant_id}")).body
    assert (tenant["name"], tenant["config"]["details"]) == (name, details)


async def test_a_tenant_without_configuration_is_still_shown(
    api: Api, shop: Shop, database: Database
) -> None:
    async with database.tenant(shop.tenant_id) as tx:
        await tx.execute("DELETE FROM tenant_configs WHERE tenant_id = $1", shop.tenant_id)
    tenant = await api.call("GET", shop.path)
    assert (tenant.status, tenant.body["config"]) == (200, None)
    assert (await api.call("GET", "/admin/tenants")).body["items"] == [tenant.body]


async def test_a_closed_database_is_told_as_an_outage(
    api: Api, shop: Shop, database: Database
) -> None:
    await database.close()
    assert (await api.call("GET", shop.path)).kind == "unavailable"
    assert (await api.call("GET", "/health")).body == {"status": "unavailable"}
    await database.open()
    assert (await api.call("GET", shop.path)).status == 200


async def test_a_number_is_found_by_its_digits_and_a_pattern_stands_for_itself(api: Api) -> None:
    asha = await api.create("+255712345601", name="Mama Asha")
    duka = await api.create("+255712345602", name="Duka 50% \\ _")
    for query, wanted in (
        ("0712345601", [asha]),
        ("%2B255 712-345-602", [duka]),
        ("3456", [duka, asha]),
        ("%25", [duka]),
        ("_", [duka]),
        ("\\", [duka]),
        ("a' OR '1'='1", []),
    ):
        page = (await api.call("GET", f"/admin/tenants?q={query}")).body
        assert [tenant["id"] for tenant in page["items"]] == wanted, query


async def test_the_log_is_of_those_asked_for(api: Api, shop: Shop, database: Database) -> None:
    for number in range(3):
        await shop.receive(number, f"Swali {number}")
    then = datetime.now(UTC) - timedelta(days=1)
    middle, just_after, later = (
        (then + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for seconds in (0, 1, 3600)
    )
    async with database.tenant(shop.tenant_id) as tx:
        await tx.execute(
            "UPDATE message_logs SET created_at = $2 WHERE tenant_id = $1 AND direction = 'IN' "
            "AND message_text = 'Swali 1'",
            shop.tenant_id,
            datetime.fromisoformat(middle),
        )
    for query, wanted in (
        ("direction=IN", ["Swali 2", "Swali 0", "Swali 1"]),
        (f"until={just_after}", ["Swali 1"]),
        (f"since={middle}&until={middle}", []),
        (f"since={middle}&direction=IN&limit=2", ["Swali 2", "Swali 0"]),
        (f"number=%2B{CUSTOMER}&direction=IN", ["Swali 2", "Swali 0", "Swali 1"]),
        (f"number=+{CUSTOMER}&direction=IN&until={later}", ["Swali 1"]),
        (f"number={CUSTOMER}@c.us&direction=IN&limit=1", ["Swali 2"]),
        ("number=%2B255711111112", []),
    ):
        page = await api.call("GET", f"{shop.path}/logs?{query}")
        texts = [item["message_text"] for item in page.body["items"]]
        assert texts == wanted, query
    items = await _all_pages(api, f"{shop.path}/logs", 100)
    mine = f"number=%2B{CUSTOMER}"
    seen: list[dict[str, Any]] = []
    place: str | None = ""
    while place is not None:
        before = f"&before={place}" if place else ""
        page = await api.call("GET", f"{shop.path}/logs?{mine}&limit=2{before}")
        seen += page.body["items"]
        place = page.body["next"]
    assert seen == items


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("direction=BOTH", "direction"),
        ("since=2026-11-20", "since"),
        ("until=2026-11-20T12:00:00", "until"),
        ("number=0712345678", "number"),
        ("number=asha", "number"),
    ],
)
async def test_a_choice_of_messages_that_is_none_is_refused(
    api: Api, shop: Shop, query: str, field: str
) -> None:
    answer = await api.call("GET", f"{shop.path}/logs?{query}")
    assert (answer.status, answer.fields) == (400, [field])
