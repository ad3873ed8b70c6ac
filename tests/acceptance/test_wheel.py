"""The wheel: what an installation carries that the checkout has elsewhere."""

import hashlib
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENDOR = "flowhq/channel/web/vendor"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    target = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, timeout=300
    )
    (file,) = target.iterdir()
    with zipfile.ZipFile(file) as archive:
        yield archive


def test_it_carries_the_pinned_script_with_its_licences(wheel: zipfile.ZipFile) -> None:
    script = wheel.read(f"{VENDOR}/wppconnect-wa.js")
    expected = "5bfb88027f14a4d8c9e319374e8bb4083201906881cf8c74f75789b32e4106bd"
    assert hashlib.sha256(script).hexdigest() == expected
    for name in ("LICENSE", "wppconnect-wa.js.LICENSE.txt", "manifest.json"):
        assert f"{VENDOR}/{name}" in wheel.namelist()


def test_it_carries_the_apis_page_with_its_licences(wheel: zipfile.ZipFile) -> None:
    script = wheel.read("flowhq/admin/vendor/swagger-ui-bundle.js")
    expected = "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2"
    assert hashlib.sha256(script).hexdigest() == expected
    for name in ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css"):
        assert f"flowhq/admin/vendor/{name}" in wheel.namelist()
    assert "flowhq/admin/pages/docs.html" in wheel.namelist()


def test_it_carries_the_databases_sql(wheel: zipfile.ZipFile) -> None:
    migrations = {path.name for path in (ROOT / "sql/migrations").glob("*.sql")}
    assert migrations
    prefix = "flowhq/db/sql/migrations/"
    packed = {name.removeprefix(prefix) for name in wheel.namelist() if name.startswith(prefix)}
    assert packed == migrations
    assert "flowhq/db/sql/schema.sql" in wheel.namelist()


def test_it_carries_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "flowhq"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.split()) <= set(wheel.namelist())


def test_programs_stay_executable(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        source = ROOT / name
        if source.is_file() and source.stat().st_mode & stat.S_IXUSR:
            assert wheel.getinfo(name).external_attr >> 16 & stat.S_IXUSR, name


def test_nothing_else_gets_in(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"flowhq", "flowhq-0.1.0.dist-info"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name]
