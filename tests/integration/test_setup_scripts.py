"""The set-up's decisions: what is installed when, with every installer replaced by a fake."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Whoever is called leaves its words in the output; nothing is installed.
FAKES = """
apt_install() { echo "apt $*"; return "${APT:-1}"; }
as_root() { echo "root $*"; return "${ROOT_STATUS:-1}"; }
find_chromium() {
    echo x >>looked
    [ "$(wc -l <looked)" -gt "${FOUND_AFTER:-99}" ] && return 0
    return "${NOT_FOUND:-3}"
}
chromium_package_helps() { return "${PACKAGE:-0}"; }
venv=fakevenv
"""


def bash(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the script after the set-up's functions and the fakes, in an empty folder."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOWHQ_")}
    return subprocess.run(
        ["bash", "-uc", f". {ROOT}/scripts/lib/setup.sh\n{FAKES}\n{script}"],
        cwd=folder,
        env=environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def playwright(tmp_path: Path) -> None:
    program(tmp_path / "fakevenv/bin/playwright", 'echo "playwright $*"; exit "${PLAYWRIGHT:-1}"')


@pytest.mark.usefixtures("playwright")
def test_a_browser_that_is_there_installs_nothing(tmp_path: Path) -> None:
    done = bash(tmp_path, "ensure_chromium", FOUND_AFTER="0")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.usefixtures("playwright")
def test_a_finder_that_fails_otherwise_installs_nothing(tmp_path: Path) -> None:
    done = bash(tmp_path, "ensure_chromium", NOT_FOUND="1")
    assert done.returncode == 1
    assert "looking for Chromium failed" in done.stderr
    assert "apt" not in done.stdout
    assert "playwright" not in done.stdout


@pytest.mark.usefixtures("playwright")
def test_the_systems_package_is_tried_first(tmp_path: Path) -> None:
    done = bash(tmp_path, "ensure_chromium", FOUND_AFTER="1", APT="0")
    assert done.returncode == 0
    assert "apt chromium" in done.stdout
    assert "playwright" not in done.stdout


@pytest.mark.usefixtures("playwright")
def test_without_a_usable_package_playwright_brings_its_own(tmp_path: Path) -> None:
    done = bash(tmp_path, "ensure_chromium", FOUND_AFTER="1", PACKAGE="1", PLAYWRIGHT="0")
    assert done.returncode == 0
    assert "apt" not in done.stdout
    words = done.stdout.splitlines()
    # The libraries only after the browser itself has come.
    assert words.index("playwright install chromium") < words.index(
        f"root {tmp_path}/fakevenv/bin/playwright install-deps chromium"
    )


@pytest.mark.usefixtures("playwright")
def test_when_nothing_helps_one_command_is_named(tmp_path: Path) -> None:
    done = bash(tmp_path, "ensure_chromium")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "Chromium is missing: run `apt-get install chromium` as root, then this again\n"
    )
    assert "install-deps" not in done.stdout


@pytest.mark.usefixtures("playwright")
def test_a_configured_browser_that_is_missing_is_not_replaced(tmp_path: Path) -> None:
    done = bash(tmp_path, "ensure_chromium", FLOWHQ_WEB__CHROMIUM="/nowhere/chromium")
    assert done.returncode == 1
    assert "FLOWHQ_WEB__CHROMIUM names no browser: /nowhere/chromium" in done.stderr
    assert "apt" not in done.stdout


def pythons(folder: Path, **names: str) -> str:
    """A PATH on which these are all the Pythons there are: name -> old, bare or whole."""
    for name, kind in names.items():
        body = {
            "old": "exit 1",
            "bare": 'case "$2" in *version_info*) exit 0;; *) exit 1;; esac',
            "whole": "exit 0",
        }[kind]
        program(folder / "bin" / name.replace("_", "."), body)
    return str(folder / "bin")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"python3_12": "whole", "python3_11": "whole", "python3": "old"}, "python3.12"),
        ({"python3_13": "old", "python3": "whole"}, "python3"),
        ({"python3_13": "bare", "python3_11": "whole"}, "python3.11"),
        ({"python3_13": "bare", "python3": "old"}, "python3.13"),
        ({"python3": "old"}, ""),
    ],
)
def test_the_first_python_that_can_make_environments_is_taken(
    tmp_path: Path, names: dict[str, str], expected: str
) -> None:
    done = bash(tmp_path, f"PATH={pythons(tmp_path, **names)}; find_python")
    assert Path(done.stdout.strip()).name == expected
    assert (done.returncode == 0) == bool(expected)


def test_a_missing_venv_package_is_installed_or_named(tmp_path: Path) -> None:
    path = pythons(tmp_path, python3="old")
    done = bash(tmp_path, f"PATH={path}; ensure_python")
    assert done.returncode == 1
    assert "apt python3 python3-venv" in done.stdout
    assert "apt-get install python3 python3-venv" in done.stderr


@pytest.mark.parametrize("home", ["", "/nonexistent"])
def test_a_home_that_cannot_be_used_is_replaced(tmp_path: Path, home: str) -> None:
    done = bash(tmp_path, 'ensure_home; echo "$HOME"', HOME=home)
    assert done.stdout.strip() == str(tmp_path / ".home")
    assert (tmp_path / ".home").is_dir()


def test_an_environment_of_another_folder_is_not_trusted(tmp_path: Path) -> None:
    program(tmp_path / "fakevenv/bin/python", 'exec python3 "$@"')
    assert bash(tmp_path, "venv_works").returncode != 0
