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
                free, total = await asyncio.to_thread(_room, folder)
        except (OSError, TimeoutError):
            views.append(DiskView(setting=setting, free_bytes=None, total_bytes=None, low=True))
            continue
        low = free < max(FREE_MIN_BYTES, FREE_MIN_SHARE * total)
        views.append(DiskView(setting=setting, free_bytes=free, total_bytes=total, low=low))
    return views


def _room(folder: Path) -> tuple[int, int]:
    """Free and all bytes of the folder's disk, or of the one on which it would be made."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(nearest)
    return usage.free, usage.total
