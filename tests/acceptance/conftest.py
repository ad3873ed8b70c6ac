"""The programs of a module, started once, and their last words when a test fails."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.parts import Daemon, Simulator
from tests.acceptance.programs import Program
from tests.acceptance.shop import Shop


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of each program's output to the report of a failure."""
    report = yield
    if report.failed and report.when == "call":
        used = [_programs(value) for value in getattr(item, "funcargs", {}).values()]
        for program in {id(program): program for group in used for program in group}.values():
            report.sections.append((f"end of {program.name}.log", program.tail))
    return report


def _programs(value: Any) -> list[Program]:
    match value:
        case Program():
            return [value]
        case Daemon() | Simulator():
            return [value.program]
        case Shop():
            return [value.daemon.program]
        case list() | tuple():
            return _programs(value[0]) if value else []
        case _:
            return []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's daemon keeps everything."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("phones"))
    try:
        simulator.start()
        yield simulator
    finally:
        simulator.program.end()


@pytest.fixture(scope="module")
def daemon(home: Path, simulator: Simulator) -> Iterator[Daemon]:
    """A daemon that runs, with limits that hold nothing back."""
    daemon = Daemon(home, simulator.url)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.program.end()
