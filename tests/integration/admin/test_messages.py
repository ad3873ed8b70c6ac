"""Messages explained and put back over HTTP, on a real database."""

from typing import Any
from uuid import UUID

import pytest

from flowhq.admin.reasons import ENDS, REASONS
from flowhq.admin.store import PostgresStore
from flowhq.db import deadletters, stories
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.owner import owner_connection
from flowhq.db.pool import Database
from flowhq.model import Ack, ChatKey, InboxState, OutboxState, TenantId
from tests.fakes.admin import FakeFleet
from tests.integration.admin.conftest import Api
from tests.integration.db.messages import ASHA_PN, message, say


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


class Shop:
    def __init__(self, tenant_id: TenantId, ledger: PostgresLedger) -> None:
        self.tenant_id = tenant_id
        self.path = f"/admin/tenants/{tenant_id}/messages"
        self.ledger = ledger

    async def answer(self, message_id: str) -> str:
        """A question with its answer, delivered; the answer's id."""
        recorded = await self.ledger.record(message(message_id), state=InboxState.NEW)
        [row] = await self.ledger.process(recorded.key, say("Karibu"))
        await self.ledger.mark_sending(row.outbox_id)
        await self.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
        await self.ledger.acknowledge([row.client_id], Ack.DELIVERED)
        return row.client_id

    async def bury(self, message_id: str) -> None:
        recorded = await self.ledger.record(message(message_id), state=InboxState.NEW)
        for _ in range(5):
            await self.ledger.postpone(recorded.key, error="KeyError")


@pytest.fixture
async def shop(api: Api, database: Database, postgres_url: str) -> Shop:
    tenant_id = TenantId(UUID(await api.create()))
    key = (await load_installation(postgres_url)).tenant_key(tenant_id)
    return Shop(tenant_id, PostgresLedger(database, tenant_id, key))


async def test_a_message_is_explained_under_both_of_its_ids(api: Api, shop: Shop) -> None:
    client_id = await shop.answer("3A01")
    told = (await api.call("GET", f"{shop.path}/3A01")).body
    assert told["answer"] == "Answered (greeting): the reply was delivered."
    assert (told["direction"], told["type"], told["wa_message_id"]) == ("IN", "text", "3A01")
    assert (told["tenant_id"], told["chat_key"]) == (str(shop.tenant_id), ASHA_PN)
    assert told["received"]["source"] == "live"
    decision = told["decision"]
    assert (decision["state"], decision["reason"], decision["admitted"]) == (
        "done",
        "greeting",
        True,
    )
    [reply] = told["replies"]
    assert (reply["wa_message_id"], reply["cause"]) == (client_id, "3A01")
    assert (reply["state"], reply["status"], reply["attempts"]) == ("delivered", "delivered", 1)
    times = [reply[at] for at in ("planned_at", "sent_at", "accepted_at", "delivered_at")]
    assert times == sorted(times)
    assert (reply["read_at"], reply["done_at"]) == (None, None)
    assert (await api.call("GET", f"{shop.path}/{told['id']}")).body == told
    ours = (await api.call("GET", f"{shop.path}/{client_id}")).body
    assert (ours["direction"], ours["id"], ours["decision"]) == ("OUT", reply["id"], None)
    assert ours["answer"] == "This message was delivered."
    assert ours["replies"] == [reply]
    logs = (await api.call("GET", shop.path.replace("/messages", "/logs"))).body["items"]
    assert {row["id"] for row in logs} == {told["id"], reply["id"]}


async def test_a_message_that_was_only_recorded_was_not_admitted(api: Api, shop: Shop) -> None:
    await shop.ledger.record(message("3A01"), state=InboxState.SKIPPED, reason="backlog")
    told = (await api.call("GET", f"{shop.path}/3A01")).body
    decision = told["decision"]
    assert (decision["admitted"], decision["reason"]) == (False, "backlog")
    assert (decision["owner"], decision["open"], decision["limit"]) == (None, None, None)
    assert told["replies"] == []
    await shop.ledger.record(message("3A02", from_me=True), state=InboxState.SKIPPED, reason="own")
    told = (await api.call("GET", f"{shop.path}/3A02")).body
    assert (told["direction"], told["decision"], told["replies"]) == ("OUT", None, [])


async def test_dead_letters_are_listed_and_put_back_and_the_tenant_is_woken(
    api: Api, shop: Shop, fleet: FakeFleet
) -> None:
    await shop.answer("3A01")
    for number in (2, 3, 4):
        await shop.bury(f"3A0{number}")
    page = (await api.call("GET", f"{shop.path}?state=dead&limit=2")).body
    assert [item["wa_message_id"] for item in page["items"]] == ["3A04", "3A03"]
    rest = (await api.call("GET", f"{shop.path}?limit=2&after={page['next']}")).body
    assert [item["wa_message_id"] for item in rest["items"]] == ["3A02"]
    assert rest["next"] is None
    [dead] = rest["items"]
    assert (dead["direction"], dead["attempts"], dead["error"]) == ("IN", 5, "KeyError")
    answer = await api.call("POST", f"{shop.path}/{dead['id']}/requeue")
    assert answer.status == 200
    decision = answer.body["decision"]
    assert (decision["state"], decision["attempts"], decision["error"]) == ("new", 0, "")
    assert decision["requeued_at"] is not None
    assert fleet.woken == [(shop.tenant_id, ChatKey(ASHA_PN))]
    again = await api.call("POST", f"{shop.path}/{dead['id']}/requeue")
    assert (again.status, again.kind) == (409, "wrong-state")
    assert again.body["next_step"]
    # The first answer may have been lost: what waits is looked after once more.
    assert fleet.woken == [(shop.tenant_id, ChatKey(ASHA_PN))] * 2
    left = (await api.call("GET", shop.path)).body["items"]
    assert [item["wa_message_id"] for item in left] == ["3A04", "3A03"]


@pytest.mark.parametrize("reference", ["3A404", "%00", "%2e%2e", "a%2Fb", "x" * 3000])
async def test_a_message_that_is_none_is_not_found(api: Api, shop: Shop, reference: str) -> None:
    for method, below in (("GET", ""), ("POST", "/requeue")):
        answer = await api.call(method, f"{shop.path}/{reference}{below}")
        assert answer.status == 404, answer.body


async def test_a_message_of_another_tenant_is_not_found(
    api: Api, shop: Shop, fleet: FakeFleet
) -> None:
    await shop.bury("3A01")
    told = (await api.call("GET", f"{shop.path}/3A01")).body
    other = f"/admin/tenants/{await api.create('+255700000999')}/messages"
    for reference in ("3A01", told["id"]):
        assert (await api.call("GET", f"{other}/{reference}")).kind == "not-found"
        assert (await api.call("POST", f"{other}/{reference}/requeue")).kind == "not-found"
    assert (await api.call("GET", other)).body["items"] == []
    assert fleet.woken == []


@pytest.mark.parametrize("query", ["state=new", "limit=0", "after=nowhere"])
async def test_a_bad_question_about_dead_letters_is_refused(
    api: Api, shop: Shop, query: str
) -> None:
    answer = await api.call("GET", f"{shop.path}?{query}")
    assert (answer.status, answer.fields) == (400, [query.partition("=")[0]])


def test_every_state_of_a_reply_has_its_words() -> None:
    assert {state for state, _ in ENDS} == set(OutboxState)
    assert all(words == words.strip().rstrip(".") for words in REASONS.values())


FILL = """
INSERT INTO inbox (tenant_id, from_me, wa_message_id, chat_key, wa_timestamp, source, state,
    payload, log_id, log_at)
SELECT $1, false, 'm' || n, 'c', now(), 'live',
    CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'done' END::inbox_state, '{}', gen_random_uuid(), now()
FROM generate_series(1, 20000) AS n
"""
FILL_OUTBOX = """
INSERT INTO outbox (tenant_id, chat_key, to_jid, cause, part, client_id, body, state, log_id,
    log_at)
SELECT $1, 'c', 'c', 'm' || n, 0, 'i' || n, '{}',
    CASE WHEN n % 1000 = 0 THEN 'dead' ELSE 'read' END::outbox_state, gen_random_uuid(), now()
FROM generate_series(1, 20000) AS n
"""


@pytest.mark.parametrize(
    ("sql", "arguments", "indexes"),
    [
        (deadletters.LIST_DEAD, (50, None, None), ["inbox_dead_idx", "outbox_dead_idx"]),
        (stories.FETCH_SEEN, (False, "m1000"), ["inbox_pkey"]),
        (stories.FETCH_PLANNED, ("i1000",), ["outbox_client_id_key"]),
        (stories.FETCH_REPLIES, ("m1000",), ["outbox_cause_part_key"]),
    ],
    ids=["dead", "seen", "planned", "replies"],
)
async def test_an_explanation_reads_no_table_through(
    shop: Shop,
    database: Database,
    postgres_url: str,
    sql: str,
    arguments: tuple[Any, ...],
    indexes: list[str],
) -> None:
    async with owner_connection(postgres_url) as connection:
        for fill in (FILL, FILL_OUTBOX):
            await connection.execute(fill, shop.tenant_id)
        await connection.execute("ANALYZE")
    async with database.tenant(shop.tenant_id) as tx:
        rows = await tx.fetch(f"EXPLAIN {sql}", shop.tenant_id, *arguments)
    plan = "\n".join(row[0] for row in rows)
    assert all(index in plan for index in indexes), plan
    assert "Seq Scan on inbox" not in plan, plan
    assert "Seq Scan on outbox" not in plan, plan
