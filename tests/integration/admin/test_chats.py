"""Chats on a real database: who, where the bot keeps silent, and letting it answer again."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from flowhq.admin.store import PostgresStore
from flowhq.db import chats
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.model import InboundMessage, InboxState, Jid, MessageId, MessageKind, Source, TenantId
from flowhq.steps import ConversationView, Decision, Outcome
from tests.integration.admin.conftest import Api

DAY_S = 86_400.0


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


class Shop:
    def __init__(self, tenant_id: TenantId, ledger: PostgresLedger) -> None:
        self.tenant_id = tenant_id
        self.path = f"/admin/tenants/{tenant_id}/chats"
        self.ledger = ledger

    async def hear(self, number: int, *, by_person: bool = False, mute_s: float = 0.0) -> None:
        """A message in the chat of this number, from either side."""
        chat = Jid(f"2557000000{number:02}@c.us")
        message = InboundMessage(
            message_id=MessageId(f"3A{number:04}{by_person}"),
            chat=chat,
            from_me=by_person,
            kind=MessageKind.TEXT,
            text="Habari",
            at=datetime.now(UTC),
            source=Source.LIVE,
            sender=chat,
            push_name=f"Asha {number}",
        )
        state = InboxState.SKIPPED if by_person else InboxState.NEW
        recorded = await self.ledger.record(message, state=state, person_pause_s=DAY_S)
        stopped = number == 3

        def decide(_: InboundMessage, __: ConversationView) -> Decision:
            return Decision(Outcome.DONE, "x", opted_out=stopped or None, mute_s=mute_s)

        await self.ledger.process(recorded.key, decide)


@pytest.fixture
async def shop(api: Api, database: Database, postgres_url: str) -> Shop:
    tenant_id = TenantId(UUID(await api.create()))
    key = (await load_installation(postgres_url)).tenant_key(tenant_id)
    made = Shop(tenant_id, PostgresLedger(database, tenant_id, key))
    for number in range(1, 7):
        await made.hear(number)
    await made.hear(2, by_person=True)
    await made.hear(4, by_person=True)
    await made.hear(7, mute_s=DAY_S)
    return made


async def names(api: Api, path: str) -> list[str]:
    answer = await api.call("GET", path)
    assert answer.status == 200, answer.body
    return [item["contact_name"].removeprefix("Asha ") for item in answer.body["items"]]


async def test_chats_are_listed_newest_first_by_their_silence(api: Api, shop: Shop) -> None:
    assert await names(api, shop.path) == ["7", "6", "5", "4", "3", "2", "1"]
    assert await names(api, f"{shop.path}?state=paused") == ["4", "2"]
    assert await names(api, f"{shop.path}?state=muted") == ["7"]


async def test_a_chat_is_told_with_all_that_people_ask(api: Api, shop: Shop) -> None:
    items = (await api.call("GET", shop.path)).body["items"]
    by_name = {item["contact_name"]: item for item in items}
    assert by_name["Asha 4"]["contact_number"] == "+255700000004"
    assert by_name["Asha 4"]["paused_until"] > by_name["Asha 4"]["last_person_message_at"]
    assert by_name["Asha 4"]["last_outgoing_at"] == by_name["Asha 4"]["last_person_message_at"]
    assert by_name["Asha 7"]["muted_until"] is not None
    assert [name for name, item in by_name.items() if item["opted_out"]] == ["Asha 3"]
    plain = by_name["Asha 1"]
    assert (plain["paused_until"], plain["muted_until"]) == (None, None)
    assert plain["last_message_at"] == plain["last_customer_message_at"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_chats_join_without_gap_or_repeat(api: Api, shop: Shop, limit: int) -> None:
    found: list[Any] = []
    place = ""
    while True:
        page = (await api.call("GET", f"{shop.path}?limit={limit}{place}")).body
        found += [item["contact_name"] for item in page["items"]]
        if page["next"] is None:
            break
        place = f"&after={page['next']}"
    assert found == [f"Asha {number}" for number in (7, 6, 5, 4, 3, 2, 1)]


async def test_a_resumed_chat_is_silent_no_more_and_the_event_is_told_once(
    api: Api, shop: Shop
) -> None:
    [muted] = (await api.call("GET", f"{shop.path}?state=muted")).body["items"]
    for _ in range(2):
        answer = await api.call("POST", f"{shop.path}/{muted['id']}/resume")
        assert answer.status == 200
        assert answer.body == muted | {"muted_until": None}
    assert await names(api, f"{shop.path}?state=muted") == []
    assert await names(api, f"{shop.path}?state=paused") == ["4", "2"]
    events = (await api.call("GET", shop.path.replace("/chats", "/events"))).body["items"]
    told = [(event["event"], event["actor"]) for event in events]
    assert told.count(("chat_resumed", "admin")) == 1
    assert told.count(("chat_muted", "daemon")) == 1
    assert told.count(("person_took_over", "phone")) == 2
    assert all(event["from_status"] == event["to_status"] for event in events)
    assert not any("700000" in event["detail"] for event in events)


async def test_a_chat_of_nobody_or_of_another_is_not_found(api: Api, shop: Shop) -> None:
    [muted] = (await api.call("GET", f"{shop.path}?state=muted")).body["items"]
    other = await api.create("+255700000999")
    for path in (
        f"/admin/tenants/{other}/chats/{muted['id']}/resume",
        f"{shop.path}/{other}/resume",
        f"{shop.path}/no-id/resume",
        f"/admin/tenants/{muted['id']}/chats/{muted['id']}/resume",
    ):
        answer = await api.call("POST", path)
        assert (answer.status, answer.kind) == (404, "not-found"), path
    assert await names(api, f"{shop.path}?state=muted") == ["7"]
    assert await names(api, f"/admin/tenants/{other}/chats") == []


@pytest.mark.parametrize(
    ("query", "field"), [("state=asleep", "state"), ("limit=0", "limit"), ("after=x", "after")]
)
async def test_a_bad_question_about_chats_is_refused(
    api: Api, shop: Shop, query: str, field: str
) -> None:
    answer = await api.call("GET", f"{shop.path}?{query}")
    assert (answer.status, answer.fields) == (400, [field])


FILL = """
WITH people AS (
    INSERT INTO contacts (tenant_id, phone_number)
    SELECT $1, '+2557' || (10000000 + n)::text FROM generate_series(1, 5000) AS n
    RETURNING id
)
INSERT INTO conversations (tenant_id, chat_key, contact_id, bot_paused_until)
SELECT $1, row_number() OVER () || '@c.us', id,
    CASE WHEN row_number() OVER () % 500 = 0 THEN now() + interval '1 hour' END
FROM people
"""


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        (chats.LIST_ALL, "conversations_created_at_idx"),
        (chats.LIST_PAUSED, "conversations_silenced_idx"),
        (chats.LIST_MUTED, "conversations_silenced_idx"),
    ],
    ids=["all", "paused", "muted"],
)
async def test_a_list_of_chats_uses_its_index(
    shop: Shop, database: Database, postgres_url: str, sql: str, index: str
) -> None:
    async with owner_connection(postgres_url) as connection:
        await connection.execute(FILL, shop.tenant_id)
        await connection.execute("ANALYZE")
    async with database.tenant(shop.tenant_id) as tx:
        rows = await tx.fetch(f"EXPLAIN {sql}", shop.tenant_id, 50, None, None)
    plan = "\n".join(row[0] for row in rows)
    assert index in plan, plan
