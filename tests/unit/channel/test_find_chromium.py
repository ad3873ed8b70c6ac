"""Which browser is taken, and what is said when there is none."""

import os
from pathlib import Path

import pytest

from flowhq.channel.web import browser
from flowhq.channel.web.browser import find_chromium, find_major_version
from flowhq.channel.web.settings import WebSettings
from flowhq.errors import MisconfiguredError


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No browser on PATH, none installed by Playwright."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "browsers"))
    return tmp_path


def test_the_configured_one_is_taken_before_all_others(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "chromium")
    configured = program(tmp_path / "my" / "chrome")
    assert find_chromium(str(configured)) == configured


@pytest.mark.parametrize("made", [False, True])
def test_a_configured_one_that_is_no_program_is_refused(tmp_path: Path, made: bool) -> None:
    program(tmp_path / "bin" / "chromium")
    configured = tmp_path / "chrome"
    if made:
        configured.write_text("")
    with pytest.raises(MisconfiguredError, match=r"chromium = .*chrome"):
        find_chromium(str(configured))


def test_playwrights_newest_comes_before_the_systems(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "chromium")
    for revision in ("999", "1200", "xyz"):
        program(tmp_path / "browsers" / f"chromium-{revision}" / "chrome-linux64" / "chrome")
    assert find_chromium("").parts[-3] == "chromium-1200"


def test_chrome_is_taken_when_there_is_no_chromium(tmp_path: Path) -> None:
    chrome = program(tmp_path / "bin" / "google-chrome")
    assert find_chromium("") == chrome
    chromium = program(tmp_path / "bin" / "chromium")
    assert find_chromium("") == chromium


def test_a_snap_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "chromium-browser", '#!/bin/sh\nexec /snap/bin/chromium "$@"\n')
    with pytest.raises(MisconfiguredError):
        find_chromium("")
    chrome = program(tmp_path / "bin" / "google-chrome")
    assert find_chromium("") == chrome


def test_no_browser_at_all_names_the_command_that_installs_one() -> None:
    with pytest.raises(MisconfiguredError, match="playwright install --with-deps chromium"):
        find_chromium("")


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho 1.2\n", "no program"])
async def test_a_program_that_does_not_run_is_found_out(tmp_path: Path, text: str) -> None:
    with pytest.raises(MisconfiguredError, match="does not start"):
        await find_major_version(program(tmp_path / "chrome", text))


async def test_the_user_agent_has_the_browsers_own_version(tmp_path: Path) -> None:
    chrome = program(tmp_path / "chrome", "#!/bin/sh\necho 'Chromium 156.0.8078.79 built on'\n")
    major = await find_major_version(chrome)
    agent = browser.user_agent(WebSettings(url="http://127.0.0.1/", profiles_dir=tmp_path), major)
    assert "Chrome/156.0.0.0" in agent
    assert "Headless" not in agent


def test_secrets_of_our_environment_do_not_reach_the_browser(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOWHQ_ADMIN__PASSWORD_HASH", "secret")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    given = browser.browser_environment(tmp_path / "chrome")
    assert "secret" not in given.values()
    assert (given["LC_ALL"], given["FLOWHQ_CHROMIUM"]) == ("C.UTF-8", str(tmp_path / "chrome"))


def test_playwrights_list_of_disabled_features_is_repeated_whole() -> None:
    """Chromium obeys the last --disable-features alone: a new Playwright may add to its own."""
    import playwright

    bundle = Path(playwright.__file__).parent / "driver/package/lib/coreBundle.js"
    source = bundle.read_text()
    start = source.index("disabledFeatures = [")
    block = source[start : source.index("].filter(", start)]
    theirs = [
        line.strip().strip('",') for line in block.splitlines() if line.strip().startswith('"')
    ]
    assert list(browser.DISABLED_FEATURES) == theirs


def test_features_that_the_settings_switch_off_are_added_to_ours() -> None:
    found = browser.arguments(["--lang=sw", "--disable-features=A,B", "--disable-features=C"])
    switched = [one for one in found if one.startswith("--disable-features=")]
    assert len(switched) == 1
    names = switched[0].partition("=")[2].split(",")
    assert names == [*browser.DISABLED_FEATURES, *browser.SAVING_FEATURES, "A", "B", "C"]
    assert "--lang=sw" in found


def test_the_starter_is_a_program() -> None:
    assert os.access(browser.LAUNCHER, os.X_OK)
