"""Every event reaches its endpoint, in order for each tenant, however the receiver behaves."""

import asyncio
import itertools
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks.webhooks
from standardwebhooks import Webhook, WebhookVerificationError

from flowhq.config import EgressSettings
from flowhq.db import deliveries, events
from flowhq.db.figures import take_stock
from flowhq.db.pool import Database
from flowhq.db.webhooks import ENDPOINTS_MAX
from flowhq.egress.client import EgressClient
from flowhq.errors import InvalidInputError, NotFoundError, WrongStateError
from flowhq.model import DeliveryState, EventType
from flowhq.webhooks.dispatcher import AT_ONCE, GONE
from flowhq.webhooks.schedule import GIVE_UP_S, WAITS_S
from tests.fakes.clock import FakeClock, until
from tests.integration.db.conftest import Shop
from tests.integration.webhooks.conftest import (
    Office,
    Received,
    Receiver,
    answer,
    open_office,
    receive,
)
from tests.pg import fetchval

MESSAGES = [EventType.MESSAGE_IN]


@pytest.fixture
def as_of_the_clock(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public library checks timestamps by the test's clock."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return clock.now()

    monkeypatch.setattr(standardwebhooks.webhooks, "datetime", Moved)


def by_tenant(seen: list[Received]) -> dict[str, list[int]]:
    """The numbers of the events, in the order of arrival."""
    found = defaultdict(list)
    for one in seen:
        found[one.document["tenant_id"]].append(int(one.event_id.removeprefix("evt_")))
    return dict(found)


async def test_a_receiver_that_was_down_for_half_an_hour_misses_nothing(
    office: Office, shop: Shop, other_shop: Shop, receiver: Receiver, as_of_the_clock: None
) -> None:
    _, secret = await office.desk.create(None, receiver.url, [])
    verified: list[Any] = []

    async def check(received: Received) -> int:
        verified.append(Webhook(secret).verify(received.body, received.headers))
        return 200

    receiver.answer = check
    await receiver.down()
    for minute in range(30):
        for one in (shop, other_shop):
            await receive(one, minute, f"dakika {minute}")
            await answer(one, minute)
        await office.tell()
        await office.clock.advance(60)
    assert receiver.seen == []
    await receiver.up()
    await office.until(lambda: len(receiver.seen) >= 240, step_s=30)
    assert {one["id"] for one in verified} == {one.event_id for one in receiver.seen}
    told = by_tenant(receiver.seen)
    assert set(told) == {str(shop.tenant_id), str(other_shop.tenant_id)}
    for numbers in told.values():
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 120
    texts = [one["data"]["text"] for one in verified if one["type"] == "message.in"]
    assert sorted(texts) == sorted(f"dakika {minute}" for minute in range(30) for _ in range(2))


async def test_a_signature_fits_its_secret_and_body_alone(
    office: Office, shop: Shop, receiver: Receiver, as_of_the_clock: None
) -> None:
    _, secret = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    assert secret.startswith("whsec_")
    await receive(shop, 1)
    await office.tell()
    await until(lambda: receiver.seen)
    [one] = receiver.seen
    assert Webhook(secret).verify(one.body, one.headers)["type"] == "message.in"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(one.body + b" ", one.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "QUJD" * 8).verify(one.body, one.headers)


async def test_two_secrets_sign_while_one_is_replaced(
    office: Office, shop: Shop, receiver: Receiver, as_of_the_clock: None, postgres_url: str
) -> None:
    row, old = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    rotated, new = await office.desk.rotate(shop.tenant_id, row.endpoint_id)
    assert rotated.old_secret_until is not None
    assert new != old
    await receive(shop, 1)
    await office.tell()
    await until(lambda: len(receiver.seen) == 1)
    for secret in (new, old):
        Webhook(secret).verify(receiver.seen[0].body, receiver.seen[0].headers)
    await office.settled()
    async with office.database.tenant(shop.tenant_id) as tx:
        await tx.execute("UPDATE webhook_endpoints SET old_secret_until = now()")
    office.dispatcher.changed(row.endpoint_id)
    await receive(shop, 2)
    await office.tell()
    await until(lambda: len(receiver.seen) == 2)
    Webhook(new).verify(receiver.seen[1].body, receiver.seen[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(receiver.seen[1].body, receiver.seen[1].headers)
    raw = await fetchval(postgres_url, "SELECT secret FROM webhook_endpoints")
    assert new.encode() not in bytes(raw)


async def test_one_tenants_stubborn_event_holds_up_its_own_queue_alone(
    office: Office, shop: Shop, other_shop: Shop, receiver: Receiver
) -> None:
    async def refuse_first(received: Received) -> int:
        return 500 if received.document["data"]["text"] == "sumu" and not healed else 200

    healed = False
    receiver.answer = refuse_first
    await office.desk.create(None, receiver.url, MESSAGES)
    await receive(shop, 1, "sumu")
    await receive(shop, 2, "baada")
    for number in range(3):
        await receive(other_shop, number)
    await office.tell()
    await until(lambda: len(receiver.seen) == 3)
    assert by_tenant(receiver.seen).keys() == {str(other_shop.tenant_id)}
    healed = True
    await office.until(lambda: len(receiver.seen) == 5)
    texts = [one.document["data"]["text"] for one in receiver.seen[3:]]
    assert texts == ["sumu", "baada"]


async def test_an_endpoint_that_hangs_delays_no_other(
    office: Office, shop: Shop, receiver: Receiver
) -> None:
    hanging = Receiver()
    under_way, most = 0, 0

    async def hang(_: Received) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(30)
        finally:
            under_way -= 1
        return 200

    hanging.answer = hang
    await hanging.up()
    await office.desk.create(None, hanging.url, MESSAGES)
    await office.desk.create(None, receiver.url, MESSAGES)
    for number in range(10):
        await receive(shop, number)
    await office.tell()
    await until(lambda: len(receiver.seen) == 10)
    assert hanging.seen == []
    assert most <= AT_ONCE
    await hanging.down()


async def test_waits_grow_and_after_a_day_an_event_is_dead_and_the_next_has_its_chance(
    office: Office, shop: Shop, receiver: Receiver
) -> None:
    attempts: list[datetime] = []

    async def refuse(_: Received) -> int:
        attempts.append(office.clock.now())
        return 503

    receiver.answer = refuse
    row, _ = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    await receive(shop, 1)
    await office.tell()

    async def dead() -> bool:
        async with office.database.tenant(shop.tenant_id) as tx:
            found = await tx.fetchval("SELECT state::text FROM webhook_deliveries")
        return bool(found == "dead")

    async def over() -> bool:
        """The attempt is: the next one is waited for, or there is none."""
        return bool(office.clock.sleeping) or await dead()

    began = office.clock.now()
    while office.clock.now() - began < timedelta(seconds=GIVE_UP_S * 1.3):
        await until(over)
        await office.clock.advance(600 if len(attempts) > 6 else 5)
    assert await dead()
    waits = [(b - a).total_seconds() for a, b in itertools.pairwise(attempts)]
    assert len(waits) >= len(WAITS_S)
    for wait_s, planned_s in zip(waits, WAITS_S, strict=False):
        assert wait_s >= planned_s * 0.85
    page = await list_all(office, shop, row.endpoint_id, DeliveryState.DEAD)
    assert [(one.status, one.error) for one in page] == [(503, "It answered 503.")]
    await until(lambda: office.outcome("dead") == 1)
    assert office.outcome("failed") == len(attempts) - 1
    assert await undelivered(office) == {"dead": 1}
    receiver.answer = None
    await receive(shop, 2, "mpya")
    await office.tell()
    await office.until(lambda: receiver.seen, step_s=600)
    await office.settled()
    assert [one.document["data"]["text"] for one in receiver.seen] == ["mpya"]
    await office.desk.deliver_again(shop.tenant_id, row.endpoint_id, page[0].seq)
    await until(lambda: len(receiver.seen) == 2)
    assert receiver.seen[1].event_id == f"evt_{page[0].seq}"
    assert await list_all(office, shop, row.endpoint_id, DeliveryState.DEAD) == []


async def undelivered(office: Office) -> dict[str, int]:
    stock = await take_stock(office.database)
    assert all(one.oldest_at <= stock.at for one in stock.webhooks)
    return {one.state: one.events for one in stock.webhooks}


async def test_what_waits_for_webhooks_is_in_stock_and_what_came_of_attempts_is_counted(
    office: Office, shop: Shop, receiver: Receiver
) -> None:
    async def refuse(_: Received) -> int:
        return 500

    receiver.answer = refuse
    row, _ = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    await receive(shop, 1)
    await receive(shop, 2)
    await office.tell()
    await until(lambda: office.outcome("failed"))
    assert await undelivered(office) == {"waiting": 2}
    await office.desk.update(shop.tenant_id, row.endpoint_id, {"enabled": False})
    assert await undelivered(office) == {"disabled": 2}
    receiver.answer = None
    await office.desk.update(shop.tenant_id, row.endpoint_id, {"enabled": True})
    await office.until(lambda: office.outcome("delivered") == 2)
    assert await undelivered(office) == {}


async def list_all(
    office: Office, shop: Shop, endpoint_id: Any, state: DeliveryState | None
) -> list[deliveries.DeliveryRow]:
    page = await office.desk.list_deliveries(
        shop.tenant_id, endpoint_id, state=state, limit=100, before=None
    )
    return list(page.rows)


async def test_gone_stops_the_endpoint_until_somebody_enables_it(
    office: Office, shop: Shop, receiver: Receiver
) -> None:
    async def gone(_: Received) -> int:
        return 410

    receiver.answer = gone
    row, _ = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    await receive(shop, 1)
    await receive(shop, 2)
    await office.tell()

    async def disabled() -> bool:
        return not (await office.desk.fetch(shop.tenant_id, row.endpoint_id)).enabled

    await until(disabled)
    assert (await office.desk.fetch(shop.tenant_id, row.endpoint_id)).disabled_reason == GONE
    assert office.outcome("gone") == 1
    receiver.answer = None
    await receive(shop, 3)
    await office.tell()
    await office.clock.advance(3_600)
    assert receiver.seen == []
    await office.desk.update(shop.tenant_id, row.endpoint_id, {"enabled": True})
    await until(lambda: len(receiver.seen) == 2)
    await office.settled()
    await office.desk.replay(
        shop.tenant_id, row.endpoint_id, office.clock.now() - timedelta(days=2)
    )
    await until(lambda: len(receiver.seen) == 5)
    again = by_tenant(receiver.seen[2:])[str(shop.tenant_id)]
    assert again == sorted(again)
    assert again[:2] == by_tenant(receiver.seen[:2])[str(shop.tenant_id)]


async def test_a_redirect_is_no_delivery(office: Office, shop: Shop, receiver: Receiver) -> None:
    asked = 0

    async def redirect(_: Received) -> int:
        nonlocal asked
        asked += 1
        return 302

    receiver.answer = redirect
    row, _ = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    await receive(shop, 1)
    await office.tell()

    async def told() -> list[int | None]:
        found = await list_all(office, shop, row.endpoint_id, DeliveryState.PENDING)
        return [one.status for one in found if one.error]

    assert await until(told) == [302]
    assert asked


async def test_who_wants_some_types_gets_those_and_a_tenants_endpoint_its_own(
    office: Office, shop: Shop, other_shop: Shop, receiver: Receiver
) -> None:
    everything = Receiver()
    await everything.up()
    await office.desk.create(shop.tenant_id, receiver.url, [EventType.MESSAGE_ACK])
    await office.desk.create(None, everything.url, [])
    for one in (shop, other_shop):
        await receive(one, 1)
        await answer(one, 1)
    await events.tell_incident(office.database, {"state": "began"})
    await office.tell()
    await until(lambda: len(everything.seen) == 9 and len(receiver.seen) == 2)
    assert {one.document["type"] for one in receiver.seen} == {"message.ack"}
    assert by_tenant(receiver.seen).keys() == {str(shop.tenant_id)}
    assert None in by_tenant(everything.seen)
    await everything.down()


async def test_a_daemon_that_dies_and_comes_back_sends_what_was_under_way_again(
    database: Database, clock: FakeClock, client: EgressClient, shop: Shop, receiver: Receiver
) -> None:
    arrived = asyncio.Event()
    let_go = asyncio.Event()

    async def first_hangs(_: Received) -> int:
        if not let_go.is_set():
            arrived.set()
            await let_go.wait()
        return 200

    receiver.answer = first_hangs
    office = open_office(database, clock, client)
    await office.tell()
    await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    for number in range(3):
        await receive(shop, number)
    await office.tell()
    running = asyncio.create_task(office.dispatcher.run())
    await arrived.wait()
    running.cancel()
    await asyncio.wait({running})
    let_go.set()
    later = open_office(database, clock, client)
    again = asyncio.create_task(later.dispatcher.run())
    await until(lambda: len({one.event_id for one in receiver.seen}) == 3)
    numbers = by_tenant(receiver.seen)[str(shop.tenant_id)]
    assert list(dict.fromkeys(numbers)) == sorted(set(numbers))
    again.cancel()
    await asyncio.wait({again})


@pytest.mark.parametrize("since", [False, True], ids=["one", "all"])
async def test_what_is_asked_for_again_while_it_is_under_way_is_sent_again(
    office: Office, shop: Shop, receiver: Receiver, since: bool
) -> None:
    arrived, let_go = asyncio.Event(), asyncio.Event()

    async def hold(_: Received) -> int:
        arrived.set()
        await let_go.wait()
        return 200

    receiver.answer = hold
    row, _ = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    await receive(shop, 1)
    await office.tell()
    await arrived.wait()
    [due] = await list_all(office, shop, row.endpoint_id, DeliveryState.PENDING)
    # As it is between two moments: queued again, and the dispatcher does not know it yet.
    if since:
        await deliveries.replay(office.database, row.endpoint_id, due.at)
    else:
        await deliveries.deliver_again(office.database, row.endpoint_id, due.seq)
    let_go.set()
    await until(lambda: len(receiver.seen) == 2)
    assert {one.event_id for one in receiver.seen} == {f"evt_{due.seq}"}

    async def delivered() -> list[int]:
        found = await list_all(office, shop, row.endpoint_id, DeliveryState.DELIVERED)
        return [one.attempts for one in found]

    assert await until(delivered) == [1]


async def test_an_endpoint_that_is_deleted_gets_nothing_more(
    office: Office, shop: Shop, receiver: Receiver
) -> None:
    row, _ = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    await receiver.down()
    await receive(shop, 1)
    await office.tell()
    await office.clock.advance(1)
    await office.desk.delete(shop.tenant_id, row.endpoint_id)
    await receiver.up()
    await office.clock.advance(3_600)
    assert receiver.seen == []
    with pytest.raises(NotFoundError):
        await office.desk.fetch(shop.tenant_id, row.endpoint_id)


async def test_a_test_is_sent_at_once_and_says_what_came_back(
    office: Office, shop: Shop, receiver: Receiver, as_of_the_clock: None
) -> None:
    row, secret = await office.desk.create(shop.tenant_id, receiver.url, [])
    trial = await office.desk.test(shop.tenant_id, row.endpoint_id)
    assert (trial.delivered, trial.status, trial.error) == (True, 200, "")
    [one] = receiver.seen
    assert Webhook(secret).verify(one.body, one.headers)["type"] == "webhook.test"
    await receiver.down()
    trial = await office.desk.test(shop.tenant_id, row.endpoint_id)
    assert (trial.delivered, trial.status) == (False, None)
    assert "127.0.0.1" not in trial.error


async def test_a_url_inside_is_refused_and_one_that_leads_inside_later_is_never_called(
    database: Database, clock: FakeClock, shop: Shop, other_shop: Shop, receiver: Receiver
) -> None:
    async with EgressClient(EgressSettings(allow_http=True)) as shut:
        office = open_office(database, clock, shut)
        for url in (receiver.url, f"http://localhost:{receiver.port}/hook", "http://[::1]/"):
            with pytest.raises(InvalidInputError, match="public internet") as refusal:
                await office.desk.create(shop.tenant_id, url, [])
            assert refusal.value.field == "url"
        async with EgressClient(
            EgressSettings(allow_http=True, allow_networks=("127.0.0.0/8",))
        ) as client:
            row, _ = await open_office(database, clock, client).desk.create(
                shop.tenant_id, receiver.url, MESSAGES
            )
        await receive(shop, 1)
        running = asyncio.create_task(office.dispatcher.run())
        await office.tell()

        async def failed() -> bool:
            found = await list_all(office, shop, row.endpoint_id, DeliveryState.PENDING)
            return bool(found and found[0].error)

        await until(failed)
        running.cancel()
        await asyncio.wait({running})
    assert receiver.seen == []


async def test_there_are_so_many_endpoints_and_no_more(
    office: Office, shop: Shop, other_shop: Shop, receiver: Receiver
) -> None:
    for _ in range(ENDPOINTS_MAX):
        await office.desk.create(shop.tenant_id, receiver.url, [])
    with pytest.raises(WrongStateError):
        await office.desk.create(shop.tenant_id, receiver.url, [])
    row, _ = await office.desk.create(other_shop.tenant_id, receiver.url, [])
    with pytest.raises(NotFoundError):
        await office.desk.fetch(shop.tenant_id, row.endpoint_id)
    with pytest.raises(NotFoundError):
        await office.desk.fetch(None, row.endpoint_id)


async def test_a_replay_in_parts_leaves_none_out_that_began_earlier_than_its_place(
    office: Office, shop: Shop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "REPLAY_MAX", 2)
    row, _ = await office.desk.create(shop.tenant_id, receiver.url, MESSAGES)
    began = datetime.now(UTC) - timedelta(hours=2)
    places = []
    for number, seconds in enumerate((0, 1000, 995, 2000)):
        await receive(shop, number)
        await office.tell()
        async with office.database.tenant(shop.tenant_id) as tx:
            places.append(await tx.fetchval("SELECT max(seq) FROM events"))
            written = "UPDATE events SET at = $1 WHERE seq = $2"
            await tx.execute(written, began + timedelta(seconds=seconds), places[-1])
    await until(lambda: len(receiver.seen) == 4)
    receiver.seen.clear()
    since: datetime | None = began
    for _ in range(10):
        if since is not None:
            since = (await office.desk.replay(shop.tenant_id, row.endpoint_id, since)).until
    assert since is None
    await office.until(lambda: {one.event_id for one in receiver.seen} >= _names(places))


def _names(places: list[int]) -> set[str]:
    return {events.event_id(place) for place in places}
