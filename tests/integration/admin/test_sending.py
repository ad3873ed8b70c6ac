"""A program sends a text through a tenant: once for its key, in the tenant's own order."""

from typing import Any
from uuid import uuid4

import pytest

from flowhq.admin.outward import Outward
from flowhq.admin.store import PostgresStore
from flowhq.db.installation import load_installation
from flowhq.db.pool import Database
from flowhq.db.sending import Sending
from flowhq.model import Ack, ChatKey, InboxKey, InboxState
from tests.fakes.admin import FakeFleet
from tests.fakes.outward import unused_outward
from tests.integration.admin.conftest import Api
from tests.integration.db.conftest import Shop, open_shop
from tests.integration.db.messages import ASHA, BY_PHONE, TEXT, message, say

TO = f"+{ASHA}"


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
async def outward(database: Database, postgres_url: str) -> Outward:
    unused = unused_outward()
    sending = Sending(database, await load_installation(postgres_url))
    return Outward(webhooks=unused.webhooks, feed=unused.feed, sending=sending)


@pytest.fixture
async def shop(database: Database, postgres_url: str) -> Shop:
    return await open_shop(database, await load_installation(postgres_url), "+255700000001")


def wish(shop: Shop, **changes: Any) -> dict[str, Any]:
    return {"tenant_id": str(shop.tenant_id), "to": TO, "text": "Agizo liko tayari"} | changes


async def test_a_message_waits_in_the_outbox_and_its_state_is_told(
    api: Api, shop: Shop, fleet: FakeFleet
) -> None:
    sent = await api.call("POST", "/v1/messages", json=wish(shop))
    assert sent.status == 202, sent.body
    assert sent.body["status"] == "queued"
    assert fleet.woken == [(shop.tenant_id, BY_PHONE)]
    [row] = await shop.ledger.unsettled(ChatKey(BY_PHONE))
    assert (row.text, row.asked_for) == ("Agizo liko tayari", True)
    path = f"/v1/messages/{sent.body['id']}"
    assert (await api.call("GET", path)).body == sent.body
    await shop.ledger.mark_sending(row.outbox_id)
    await shop.ledger.mark_accepted(row.outbox_id, Ack.SERVER)
    await shop.ledger.acknowledge([row.client_id], Ack.READ)
    told = (await api.call("GET", path)).body
    assert told["status"] == "read"
    assert told["read_at"] >= told["sent_at"] >= told["created_at"]
    logs = await api.call("GET", f"/admin/tenants/{shop.tenant_id}/logs")
    assert [one["id"] for one in logs.body["items"]] == [told["message_id"]]


async def test_the_same_key_sends_once_and_another_message_under_it_is_refused(
    api: Api, shop: Shop
) -> None:
    key = {"Idempotency-Key": "order-4711"}
    first = await api.call("POST", "/v1/messages", json=wish(shop), headers=key)
    again = await api.call("POST", "/v1/messages", json=wish(shop), headers=key)
    assert (first.status, again.status) == (202, 202)
    assert first.body["id"] == again.body["id"]
    other = await api.call("POST", "/v1/messages", json=wish(shop, text="x"), headers=key)
    assert other.status in (409, 422)
    assert len(await shop.ledger.unsettled()) == 1
    for _ in range(2):
        await api.call("POST", "/v1/messages", json=wish(shop))
    assert len(await shop.ledger.unsettled()) == 3


async def test_it_goes_into_the_chat_that_the_number_has_already(
    api: Api, shop: Shop, fleet: FakeFleet
) -> None:
    lid = "100200300400@lid"
    await shop.ledger.record(message(chat=lid, phone=ASHA, lid=lid), state=InboxState.NEW)
    await shop.ledger.process(InboxKey(False, TEXT.message_id), say("Karibu"))
    await api.call("POST", "/v1/messages", json=wish(shop))
    rows = await shop.ledger.unsettled()
    assert [row.text for row in rows] == ["Karibu", "Agizo liko tayari"]
    assert {row.chat_key for row in rows} == {lid}
    assert fleet.woken == [(shop.tenant_id, ChatKey(lid))]


async def test_who_said_stop_gets_nothing(api: Api, shop: Shop) -> None:
    await shop.ledger.record(TEXT, state=InboxState.NEW)
    await shop.ledger.process(InboxKey(False, TEXT.message_id), say("Sawa", opted_out=True))
    refused = await api.call("POST", "/v1/messages", json=wish(shop))
    assert refused.kind == "wrong-state"
    assert [row.text for row in await shop.ledger.unsettled()] == ["Sawa"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": "0712345678"}, "to"),
        ({"to": "nobody"}, "to"),
        ({"to": "+255000"}, "to"),
        ({"to": "+255700000001"}, "to"),
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": "x" * 4_097}, "text"),
        ({"text": 5}, "text"),
        ({"tenant_id": "nobody"}, "tenant_id"),
        ({"media": "x"}, "media"),
    ],
)
async def test_what_cannot_be_sent_is_refused_by_its_field(
    api: Api, shop: Shop, changes: dict[str, Any], field: str
) -> None:
    answer = await api.call("POST", "/v1/messages", json=wish(shop, **changes))
    assert answer.kind == "invalid-input", answer.body
    assert answer.fields == [field]
    assert await shop.ledger.unsettled() == []


async def test_numbers_may_be_written_in_several_ways(api: Api, shop: Shop) -> None:
    for written in ("+255 712 345 678", "00255712345678"):
        assert (await api.call("POST", "/v1/messages", json=wish(shop, to=written))).status == 202
    assert {row.chat_key for row in await shop.ledger.unsettled()} == {BY_PHONE}


async def test_an_unknown_tenant_or_message_is_not_there(api: Api, shop: Shop) -> None:
    answer = await api.call("POST", "/v1/messages", json=wish(shop, tenant_id=str(uuid4())))
    assert answer.kind == "not-found"
    sent = await api.call("POST", "/v1/messages", json=wish(shop))
    for wrong in ("x", "msg_", "msg_AAAA", sent.body["id"][:-4] + "AAAA", sent.body["id"] + "=="):
        assert (await api.call("GET", f"/v1/messages/{wrong}")).kind == "not-found", wrong
