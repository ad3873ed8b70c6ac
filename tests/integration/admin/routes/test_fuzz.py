"""Whatever the OpenAPI document allows, and whatever it does not: no 5xx, no answer that is not
documented, nobody in without a credential, nothing of another tenant, whoever asks.

A few cases an operation; FLOWHQ_TEST_FUZZ_EXAMPLES=300 makes it the full run (docs/testing.md).
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from argon2 import PasswordHasher

from flowhq import password
from flowhq.admin import passwords
from flowhq.admin.app import ROUTES
from flowhq.admin.credentials import Credentials
from flowhq.admin.openapi import document
from flowhq.admin.portal_store import PortalStore
from flowhq.db.pool import Database
from flowhq.model import TenantId, TenantSnapshot
from flowhq.webhooks.feed import Feed
from tests.fakes.admin import FakeFleet
from tests.fakes.clock import until
from tests.fakes.issuer import Issuer
from tests.integration.admin.conftest import PASSWORD, Api, QuickClock
from tests.integration.admin.routes.fuzzing import Fuzzer, Tally
from tests.integration.admin.routes.worlds import Operation, Parts, World, WorldMaker, operations_of

EXAMPLES = int(os.environ.get("FLOWHQ_TEST_FUZZ_EXAMPLES", "2"))
# Above it, the run says how far it is.
LONG_RUN = 20
# Each in a database of its own, so that what one leaves behind does not slow down the others.
PARTS = 4
WORLD_LIMIT_S = 60

Say = Callable[[str], None]


class HastyFleet(FakeFleet):
    """Nothing ever changes, and nobody waits for it."""

    async def changed(self, tenant_id: TenantId, timeout_s: float) -> TenantSnapshot | None:
        await asyncio.sleep(0)
        return self.seen.get(tenant_id)


class HastyClock(QuickClock):
    """An hour of a client's waiting is over in a moment."""

    def monotonic(self) -> float:
        return super().monotonic() * 100_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def fleet() -> HastyFleet:
    return HastyFleet()


@pytest.fixture
def clock() -> HastyClock:
    return HastyClock()


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> PasswordHasher:
    """What a hash costs is not what is tried."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(password, "_hasher", lambda: cheap)
    monkeypatch.setattr(passwords, "NOBODYS_HASH", cheap.hash("nobody's"))
    return cheap


@pytest.fixture
def few_words() -> Iterator[None]:
    """In a long run, a line for each of a hundred thousand requests takes longer than they do."""
    before = structlog.get_config()
    if EXAMPLES >= LONG_RUN:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """Writes a line to the terminal in a long run; the processes of a parallel one have none."""
    plugins = request.config.pluginmanager
    terminal = plugins.get_plugin("terminalreporter")
    capture: Any = plugins.get_plugin("capturemanager")

    def say(line: str) -> None:
        if terminal is not None and EXAMPLES >= LONG_RUN:
            with capture.global_and_fixture_disabled():
                terminal.ensure_newline()
                terminal.write_line(line, flush=True)

    return say


@pytest.fixture(scope="module")
def total() -> Tally:
    return Tally()


@pytest.fixture
def parts(
    api: Api,
    database: Database,
    postgres_url: str,
    feed: Feed,
    portal: PortalStore,
    credentials: Credentials,
    issuer: Issuer,
    cheap_passwords: PasswordHasher,
) -> Parts:
    hashed = cheap_passwords.hash(PASSWORD)
    return Parts(api, database, postgres_url, feed, portal, credentials, issuer, hashed)


def test_the_parts_are_all_operations() -> None:
    operations = operations_of(document(ROUTES, "test"))
    tried = [one.name for number in range(PARTS) for one in _part(operations, number)]
    assert sorted(tried) == sorted(route.name for route in ROUTES)


@pytest.mark.timeout(120 + EXAMPLES * 20)
@pytest.mark.usefixtures("few_words")
@pytest.mark.parametrize("number", range(PARTS))
async def test_every_answer_is_documented_and_none_is_a_fault_of_ours(
    api: Api, feed: Feed, parts: Parts, total: Tally, say: Say, number: int
) -> None:
    described = (await api.call("GET", "/openapi.json")).body
    maker, loop = WorldMaker(parts), asyncio.get_running_loop()

    def renew() -> World:
        return asyncio.run_coroutine_threadsafe(maker.world(), loop).result(WORLD_LIMIT_S)

    chosen = _part(operations_of(described), number)
    fuzzer = Fuzzer(api.base, described, await maker.world(), renew, EXAMPLES)
    try:
        for place, operation in enumerate(chosen, start=1):
            before_s, before = fuzzer.tally.took_s, fuzzer.tally.requests.total()
            await asyncio.to_thread(fuzzer.run, operation)
            sent, took_s = fuzzer.tally.requests.total() - before, fuzzer.tally.took_s - before_s
            say(f"{number + 1}.{place}/{len(chosen)} {operation.label}: {sent} in {took_s:.1f} s")
    finally:
        fuzzer.close()
    total.add(fuzzer.tally)
    say(f"part {number + 1} of {PARTS}: {fuzzer.tally.summary()}")
    say(f"so far: {total.summary()}")
    await until(lambda: not feed._streams)  # noqa: SLF001 - whether each stream was ended
    assert not fuzzer.tally.failures, _report(fuzzer.tally)
    tried = {(one.label, caller) for one in chosen for caller in fuzzer.callers}
    assert set(fuzzer.tally.requests) == tried


def _part(operations: list[Operation], number: int) -> list[Operation]:
    """Every so many-th one; what makes more rows comes late, what takes them away last."""
    return sorted(
        operations[number::PARTS],
        key=lambda one: (one.method == "DELETE", "201" in one.described["responses"]),
    )


def _report(tally: Tally) -> str:
    """Each failure with examples, to be read at the terminal."""
    lines = [f"{len(tally.failures)} kinds of failures"]
    for (label, caller, what), told in sorted(tally.failures.items()):
        lines += [f"{label} as {caller}: {what}", *(f"    {one}" for one in told)]
    return "\n".join(lines)
