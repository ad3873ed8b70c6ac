"""One daemon on a database, and a second one as soon as the first is gone."""

import asyncio
from functools import partial

import pytest

from flowhq.db import claim as claim_module
from flowhq.db.claim import Claim
from flowhq.errors import InUseError
from tests.fakes.clock import until
from tests.pg import execute, fetchval

END_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# Long enough to ask several times; who may take it has as long as a daemon has.
IN_VAIN_S = 1.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_module, "WATCH_S", 0.05)


async def test_a_second_daemon_is_refused_until_the_first_is_gone(any_url: str) -> None:
    async with Claim(any_url).held():
        with pytest.raises(InUseError, match="Another daemon works on this database"):
            async with Claim(any_url).held(limit_s=IN_VAIN_S):
                pytest.fail("two hold it")
    async with Claim(any_url).held():
        pass


async def test_a_connection_that_ends_costs_nothing_as_long_as_nobody_else_comes(
    any_url: str,
) -> None:
    lost: list[bool] = []
    async with Claim(any_url).held() as claim:
        keeping = asyncio.create_task(claim.keep(lambda: lost.append(True)))
        for _ in range(3):
            before = await fetchval(any_url, HOLDER)
            await execute(any_url, END_ALL)
            await until(partial(held_by_another, any_url, before))
        with pytest.raises(InUseError):
            async with Claim(any_url).held(limit_s=IN_VAIN_S):
                pytest.fail("two hold it")
        keeping.cancel()
        await asyncio.wait({keeping})
    assert lost == []


async def held_by_another(url: str, pid: int) -> bool:
    """Than the connection of this process of the server."""
    return await fetchval(url, HOLDER) not in (None, pid)


async def test_who_finds_another_in_its_place_stops(any_url: str) -> None:
    lost: list[bool] = []
    async with Claim(any_url).held() as claim:
        await execute(any_url, END_ALL)
        async with Claim(any_url).held():
            keeping = asyncio.create_task(claim.keep(lambda: lost.append(True)))
            await until(lambda: keeping.done())
    assert lost == [True]
