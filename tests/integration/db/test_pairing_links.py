"""Pairing links as they are stored: one good at a time, used up by a connection."""

import base64
from uuid import uuid4

import pytest

from flowhq.db.pairinglinks import create_link, list_links, open_link, revoke_link
from flowhq.db.scopedtokens import TOKEN_CHARS
from flowhq.db.states import PostgresStatusBook
from flowhq.errors import NotFoundError
from flowhq.model import SessionState
from tests.integration.db.conftest import Shop
from tests.integration.db.test_portal import snapshot


async def test_a_link_is_found_by_its_token_and_nothing_else(shop: Shop, other_shop: Shop) -> None:
    made = await create_link(shop.database, shop.tenant_id, by="user:neema", lifetime_s=60)
    assert len(made.token) == TOKEN_CHARS
    assert made.token not in repr(made)
    first = await open_link(shop.database, made.token)
    again = await open_link(shop.database, made.token)
    assert first.link_id == made.link.link_id
    assert first.opened_at is not None
    assert again == first
    raw = base64.urlsafe_b64decode(made.token)
    moved = base64.urlsafe_b64encode(other_shop.tenant_id.bytes + raw[16:]).decode()
    for wrong in (moved, made.token[:-4], made.token[:-1] + "*", "", "é" * 64, "A" * 64):
        with pytest.raises(NotFoundError):
            await open_link(shop.database, wrong)
    async with shop.database.tenant(shop.tenant_id) as tx:
        stored = await tx.fetchval("SELECT l::text FROM pairing_links l")
    assert made.token not in stored
    assert raw[16:].hex() not in stored


async def test_a_new_link_revokes_the_one_before_it(shop: Shop, other_shop: Shop) -> None:
    theirs = await create_link(shop.database, other_shop.tenant_id, by="x", lifetime_s=60)
    old, new = [
        await create_link(shop.database, shop.tenant_id, by="x", lifetime_s=60) for _ in range(2)
    ]
    assert (await open_link(shop.database, old.token)).revoked_at is not None
    assert (await open_link(shop.database, new.token)).revoked_at is None
    assert (await open_link(shop.database, theirs.token)).revoked_at is None
    listed = await list_links(shop.database, shop.tenant_id)
    assert [link.link_id for link in listed] == [new.link.link_id, old.link.link_id]


async def test_a_link_is_revoked_by_its_own_tenant_alone(shop: Shop, other_shop: Shop) -> None:
    made = await create_link(shop.database, shop.tenant_id, by="x", lifetime_s=60)
    for tenant_id, link_id in (
        (other_shop.tenant_id, made.link.link_id),
        (shop.tenant_id, uuid4()),
    ):
        with pytest.raises(NotFoundError):
            await revoke_link(shop.database, tenant_id, link_id)
    revoked = await revoke_link(shop.database, shop.tenant_id, made.link.link_id)
    assert revoked.revoked_at is not None
    assert await revoke_link(shop.database, shop.tenant_id, made.link.link_id) == revoked


async def test_only_a_connection_uses_a_link_up(shop: Shop, other_shop: Shop) -> None:
    book = PostgresStatusBook(shop.database)
    made = await create_link(shop.database, shop.tenant_id, by="x", lifetime_s=60)
    theirs = await create_link(shop.database, other_shop.tenant_id, by="x", lifetime_s=60)
    await book.save(snapshot(shop.tenant_id, SessionState.QR_READY), event="x", actor="x")
    assert (await open_link(shop.database, made.token)).used_at is None
    await book.save(snapshot(shop.tenant_id, SessionState.CONNECTED), event="x", actor="x")
    used = await open_link(shop.database, made.token)
    assert used.used_at is not None
    await book.save(snapshot(shop.tenant_id, SessionState.CONNECTED), event="y", actor="x")
    assert (await open_link(shop.database, made.token)).used_at == used.used_at
    assert (await open_link(shop.database, theirs.token)).used_at is None


async def test_what_expired_or_was_revoked_is_not_used(shop: Shop) -> None:
    expired = await create_link(shop.database, shop.tenant_id, by="x", lifetime_s=60)
    async with shop.database.tenant(shop.tenant_id) as tx:
        await tx.execute(
            "UPDATE pairing_links SET created_at = now() - interval '2 hours',"
            " expires_at = now() - interval '1 hour'"
        )
    assert (await open_link(shop.database, expired.token)).expired
    connected = snapshot(shop.tenant_id, SessionState.CONNECTED)
    await PostgresStatusBook(shop.database).save(connected, event="x", actor="x")
    assert (await open_link(shop.database, expired.token)).used_at is None
