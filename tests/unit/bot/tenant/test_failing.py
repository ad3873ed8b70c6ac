"""A run that fails: its reason, and what is closed."""

import asyncio
import gc

import pytest

from flowhq.bot import tenant as tenant_module
from flowhq.bot.answering import Answering
from flowhq.bot.chats import Lanes
from flowhq.bot.inbound import Inbound
from flowhq.bot.outbound import Outbound
from flowhq.bot.pump import Pump
from flowhq.errors import ChannelRestartError, LoginRequiredError, StoreRefusedError
from flowhq.model import Reason, Rung
from tests.fakes.clock import settle
from tests.unit.bot.tenant.conftest import Bench


async def test_a_page_that_dies_ends_the_run_with_its_reason_and_closes(bench: Bench) -> None:
    await bench.start()
    await settle()
    bench.channel.ready()
    await settle()
    bench.channel.crash(Reason.PAGE_CRASHED)
    error = await bench.failure()
    assert isinstance(error, ChannelRestartError)
    assert error.reason == Reason.PAGE_CRASHED
    assert bench.channel.closed == 1


async def test_a_run_that_is_made_to_fail_ends_with_that_failure(bench: Bench) -> None:
    failure = ChannelRestartError("No connection.", reason=Reason.CONNECTION_LOST)
    await bench.start()
    await settle()
    bench.channel.ready()
    await settle()
    bench.runner.fail(failure)
    bench.runner.fail(ChannelRestartError("Too late.", reason=Reason.PAGE_HUNG))
    assert await bench.failure() is failure
    bench.runner.fail(failure)


async def test_a_channel_that_cannot_open_is_closed_all_the_same(bench: Bench) -> None:
    bench.channel.fail_open(LoginRequiredError("Blocked.", reason=Reason.BLOCKED))
    await bench.start()
    assert isinstance(await bench.failure(), LoginRequiredError)
    assert bench.channel.closed == 1


async def test_what_failed_stays_open_for_the_next_attempt_until_it_is_closed(bench: Bench) -> None:
    first = asyncio.create_task(bench.new_runner().run())
    await settle()
    bench.channel.crash()
    await asyncio.wait({first})
    assert isinstance(first.exception(), ChannelRestartError)
    runner = bench.new_runner()
    second = asyncio.create_task(runner.run(Rung.PAGE))
    await settle()
    second.cancel()
    await asyncio.wait({second})
    assert bench.channel.rungs == [Rung.BROWSER, Rung.PAGE]
    assert bench.channel.closed == 0
    await runner.close()
    assert bench.channel.closed == 1


@pytest.mark.parametrize("stage", ["pump", "heartbeat", "courtesy", "look again"])
async def test_a_stage_that_is_cancelled_from_inside_ends_the_run(bench: Bench, stage: str) -> None:
    await bench.start()
    await settle()
    [task] = [one for one in asyncio.all_tasks() if one.get_name() == stage]
    task.cancel()
    assert isinstance(await bench.failure(), ChannelRestartError)


def parts_of_runs() -> int:
    kinds = (Pump, Outbound, Inbound, Answering, Lanes)
    return sum(isinstance(one, kinds) for one in gc.get_objects())


@pytest.mark.parametrize("end", ["it fails", "it is stopped"])
async def test_a_run_that_is_over_is_gone_at_once(bench: Bench, end: str) -> None:
    """Not when the garbage collector comes by, which is rarely."""
    gc.collect()
    before = parts_of_runs()
    gc.disable()
    try:
        async with bench.running():
            bench.receive("habari")
            await settle()
            assert parts_of_runs() == before + 6
            if end == "it fails":
                bench.channel.crash()
                await asyncio.wait({bench.task})
                failed = type(bench.task.exception())
                assert failed is ChannelRestartError
        del bench.task
        await bench.channel.open()  # lets go of the error that it told
        assert parts_of_runs() == before
    finally:
        gc.enable()


async def test_of_several_failures_the_one_for_a_person_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start()
    await settle()
    bench.channel.ready()
    await settle()
    group = ExceptionGroup(
        "x",
        [
            ValueError("a"),
            StoreRefusedError("b"),
            ExceptionGroup("y", [ChannelRestartError("c", reason=Reason.PAGE_HUNG)]),
            LoginRequiredError("d", reason=Reason.BLOCKED),
        ],
    )

    async def probe() -> None:
        raise group

    monkeypatch.setattr(bench.channel, "probe", probe)
    await bench.clock.advance(15)
    assert str(await bench.failure()) == "d"


async def test_a_browser_that_does_not_close_in_time_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_module, "CLOSE_S", 0.02)
    await bench.start()
    await settle()
    bench.channel.may_close.clear()
    await bench.stop()
    assert bench.task.cancelled()
    assert bench.channel.killed


async def test_a_browser_that_fails_to_close_is_killed(bench: Bench) -> None:
    await bench.start()
    await settle()
    bench.channel.close_error = ChannelRestartError("gone", reason=Reason.BROWSER_GONE)
    await bench.stop()
    assert bench.task.cancelled()
    assert bench.channel.killed
