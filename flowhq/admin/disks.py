"""Room on the disks that the daemon writes to."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

# Below either a disk is as good as full: PostgreSQL and browsers stop with it.
FREE_MIN_BYTES = 2 * 1024**3
FREE_MIN_SHARE = 0.05
# A network disk that does not answer must not hold up who asks for health.
LOOK_LIMIT_S = 2.0


class DiskView(BaseModel):
    """The disk behind one setting's folder; nulls when it does not answer."""

    setting: str
    free_bytes: int | None
    total_bytes: int | None
    low: bool


async def look_at(folders: Mapping[str, Path]) -> list[DiskView]:
    """One for each folder; ``folders`` by the setting that names it."""
    views = []
    for setting, folder in folders.items():
        try:
            async with asyncio.timeout(LOOK_LIMIT_S):
                usage = await asyncio.to_thread(_usage, folder)
        except (OSError, TimeoutError):
            views.append(DiskView(setting=setting, free_bytes=None, total_bytes=None, low=True))
            continue
        low = usage.free < max(FREE_MIN_BYTES, FREE_MIN_SHARE * usage.total)
        views.append(
            DiskView(setting=setting, free_bytes=usage.free, total_bytes=usage.total, low=low)
        )
    return views


def _usage(folder: Path) -> "shutil._ntuple_diskusage":
    """Of the folder's disk, or of the one on which it would be made."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(nearest)
