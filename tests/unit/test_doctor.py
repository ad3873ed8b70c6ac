"""The doctor's lines: what is fine, what fails, and the next step under each failure."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from flowhq import doctor
from flowhq.config import Config, DatabaseSettings, LoggingSettings, WebSettings
from flowhq.errors import MisconfiguredError


def config_in(folder: Path) -> Config:
    return Config(
        database=DatabaseSettings(data_dir=folder / "data"),
        web=WebSettings(profiles_dir=folder / "profiles"),
        logging=LoggingSettings(directory=folder / "logs"),
    )


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built-in script of our own making, in place of the real one."""
    folder = tmp_path / "vendor"
    folder.mkdir()
    (folder / "script.js").write_bytes(b"1")
    manifest = {
        "package": "p",
        "version": "1.2.3",
        "files": {"script.js": hashlib.sha256(b"1").hexdigest()},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("flowhq.doctor.resources.files", lambda _: tmp_path)
    return folder


async def test_every_check_has_its_line_and_failures_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fine(_: Config) -> str:
        return "as it should be"

    async def broken(_: Config) -> str:
        raise MisconfiguredError("is missing.", next_step="Install it.")

    async def silent(_: Config) -> str:
        raise TimeoutError

    monkeypatch.setattr(doctor, "CHECKS", (("a", fine), ("b", broken), ("c", silent)))
    lines: list[str] = []
    assert not await doctor.examine(config_in(tmp_path), lines.append)
    assert lines == [
        "ok    a: as it should be",
        "FAIL  b: is missing.",
        "      Install it.",
        "FAIL  c: no answer within 120 s.",
    ]


async def test_all_well_is_told_by_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (("Python", doctor.check_python),))
    assert await doctor.examine(config_in(tmp_path), lambda _: None)


async def test_an_old_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHON_OLDEST", (99, 0))
    with pytest.raises(MisconfiguredError, match="too old"):
        await doctor.check_python(config_in(tmp_path))


async def test_the_built_in_script_is_compared_with_its_manifest(
    tmp_path: Path, vendor: Path
) -> None:
    assert "p 1.2.3, 1 files" in await doctor.check_page_script(config_in(tmp_path))
    (vendor / "script.js").write_bytes(b"2")
    with pytest.raises(MisconfiguredError, match=r"script\.js is not the file"):
        await doctor.check_page_script(config_in(tmp_path))
    (vendor / "manifest.json").unlink()
    with pytest.raises(MisconfiguredError, match="not complete"):
        await doctor.check_page_script(config_in(tmp_path))


async def test_the_real_script_is_the_pinned_one(tmp_path: Path) -> None:
    assert "@wppconnect/wa-js 4.6.0" in await doctor.check_page_script(config_in(tmp_path))


async def test_folders_are_tried_and_not_made(tmp_path: Path) -> None:
    assert str(tmp_path / "profiles") in await doctor.check_folders(config_in(tmp_path))
    assert not list(tmp_path.iterdir())


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MisconfiguredError, match="file/profiles cannot be written") as raised:
        await doctor.check_folders(config_in(tmp_path / "file"))
    assert "another folder" in raised.value.next_step


async def test_the_folder_of_the_embedded_database_matters_only_with_it(tmp_path: Path) -> None:
    remote = config_in(tmp_path).model_copy(
        update={"database": DatabaseSettings.model_validate({"url": "postgresql://h/x"})}
    )
    assert "postgres" not in await doctor.check_folders(remote)


async def test_missing_binaries_of_the_embedded_database_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> list[object]:
        raise MisconfiguredError("no PostgreSQL here.")

    monkeypatch.setattr(doctor, "find_binaries", none)
    with pytest.raises(MisconfiguredError, match="no PostgreSQL here"):
        await doctor.check_database(config_in(tmp_path))


@pytest.mark.parametrize(("value", "usable"), [("1\n", True), ("0\n", False)])
async def test_the_kernels_switch_for_the_sandbox_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, usable: bool
) -> None:
    switch = tmp_path / "switch"
    switch.write_text(value)
    monkeypatch.setattr(doctor, "SANDBOX_SWITCHES", ((switch, "1", "sysctl -w switch=1"),))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if usable:
        assert await doctor.check_sandbox(config_in(tmp_path)) == "usable"
    else:
        with pytest.raises(MisconfiguredError, match="root alone") as raised:
            await doctor.check_sandbox(config_in(tmp_path))
        assert "sysctl -w switch=1" in raised.value.next_step


async def test_as_root_there_is_no_sandbox_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "off" in await doctor.check_sandbox(config_in(tmp_path))
