"""The fleet's stock: every tenant, and what waits, through the operator's views alone."""

from flowhq.db.figures import take_stock
from flowhq.db.pool import Database
from flowhq.model import InboxState
from tests.integration.db.conftest import Shop
from tests.integration.db.messages import message


async def test_stock_has_every_tenant_and_what_waits_where(
    store: Database, shop: Shop, other_shop: Shop
) -> None:
    for number in (1, 2):
        await shop.ledger.record(message(f"3A{number}"), state=InboxState.NEW)
    await other_shop.ledger.record(message("3A3"), state=InboxState.SKIPPED, reason="own")
    stock = await take_stock(store)
    assert {one.tenant_id for one in stock.tenants} == {shop.tenant_id, other_shop.tenant_id}
    assert {(one.status, one.session, one.worker) for one in stock.tenants} == {
        ("NEW", "DISCONNECTED", "STOPPED")
    }
    [depth] = stock.depths
    assert (depth.tenant_id, depth.queue, depth.messages) == (shop.tenant_id, "inbox", 2)
    assert depth.oldest_at <= stock.at


async def test_the_pool_tells_how_it_is_used(store: Database, shop: Shop) -> None:
    before = store.figures()
    assert before.size - before.idle == 0
    async with store.tenant(shop.tenant_id):
        during = store.figures()
    assert during.size - during.idle == 1
    assert (during.limit, during.waiting) == (10, 0)
