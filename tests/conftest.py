"""What every test is held to: nothing it started is still running when it is over."""

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

pytest_plugins = ["pytester", "tests.logsearch"]

# How long something that was told to stop may take to be gone on a busy machine.
GRACE_S = 20.0


@pytest.fixture(autouse=True)
def no_lingering_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test if a thread that it started outlives it."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE_S
    while lingering := _threads_besides(before):
        if request.node.get_closest_marker("lingers") or time.monotonic() >= deadline:
            break
        lingering[0].join(timeout=0.05)
    if lingering and not request.node.get_closest_marker("lingers"):
        pytest.fail(f"threads outlive the test: {sorted(thread.name for thread in lingering)}")


@pytest.fixture(autouse=True)
def no_lingering_tasks(request: pytest.FixtureRequest, no_lingering_threads: None) -> None:
    """Has the loop of an asynchronous test searched for tasks when its fixtures are gone."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_task_watch")


@pytest.fixture
async def _task_watch(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + GRACE_S
    while lingering := asyncio.all_tasks() - before - {asyncio.current_task()}:
        if request.node.get_closest_marker("lingers"):
            return
        if time.monotonic() >= deadline:
            pytest.fail(f"tasks outlive the test: {sorted(map(repr, lingering))}")
        await asyncio.sleep(0.01)


def _threads_besides(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before]
