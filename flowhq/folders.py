"""Where the daemon writes, and whether it can."""

import tempfile
from pathlib import Path

from flowhq.config import Config
from flowhq.errors import MisconfiguredError


def require_folders(config: Config) -> list[Path]:
    """The folders that the daemon keeps its things in; MisconfiguredError names the one that
    cannot be written, or cannot be made."""
    folders = folders_of(config)
    for setting, folder in folders.items():
        _require_writable(setting, folder)
    return list(folders.values())


def folders_of(config: Config) -> dict[str, Path]:
    """Where the daemon writes, by the setting that says so."""
    folders = {
        "[web] profiles_dir": config.web.profiles_dir,
        "[logging] directory": config.logging.directory,
    }
    if config.database.embedded:
        folders["[database] data_dir"] = config.database.data_dir
    if config.retention.archive is not None:
        folders["[retention] archive_dir"] = config.retention.archive
    return folders


def _require_writable(setting: str, folder: Path) -> None:
    """Writes a file into the folder, or into the nearest one above in which it would be made."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return
    except OSError as error:
        raise MisconfiguredError(
            f"{folder} cannot be written: {error.strerror}.",
            next_step=f"Give {nearest} to the user that runs the daemon, or set {setting} to "
            "another folder.",
        ) from error
