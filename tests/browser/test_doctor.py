"""The doctor with a real browser: it starts one, says which, and leaves nothing behind."""

from pathlib import Path

import psutil
import pytest

from flowhq import doctor
from flowhq.config import Config, DatabaseSettings, LoggingSettings, WebSettings
from flowhq.errors import MisconfiguredError
from tests.acceptance.programs import running
from tests.fakes.clock import until


def config_in(folder: Path, chromium: str = "") -> Config:
    return Config(
        database=DatabaseSettings(data_dir=folder / "data"),
        web=WebSettings(profiles_dir=folder / "profiles", chromium=chromium),
        logging=LoggingSettings(directory=folder / "logs"),
    )


async def test_a_machine_that_runs_these_tests_is_healthy(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    lines: list[str] = []
    assert await doctor.examine(config_in(tmp_path), lines.append), lines
    assert [line.split(":")[0] for line in lines] == [f"ok    {name}" for name, _ in doctor.CHECKS]
    assert not list(tmp_path.iterdir())
    await until(lambda: running(set(psutil.Process().children(recursive=True)) - before) == [])


async def test_the_browser_that_was_started_is_named_without_its_head(tmp_path: Path) -> None:
    line = await doctor.check_chromium(config_in(tmp_path))
    assert "Mozilla/5.0" in line
    assert "Headless" not in line


async def test_a_program_that_is_no_browser_fails_with_a_next_step(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="does not start") as raised:
        await doctor.check_chromium(config_in(tmp_path, chromium="/bin/false"))
    assert "install" in raised.value.next_step
