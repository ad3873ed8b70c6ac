"""A table as a file: one JSON object a line, gzip; under its final name only when it is whole.

Written beside, synced, read back and counted, then renamed: a file that is there is complete.
"""

import asyncio
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import asyncpg
from asyncpg import Record

from flowhq.db.faults import translated
from flowhq.db.owner import STATEMENT_LIMIT_S
from flowhq.errors import StoreRefusedError

Args = ParamSpec("Args")
ResultT = TypeVar("ResultT")

# The fastest level: texts are gone by then, and ids and times hardly shrink further.
LEVEL = 1
READ_BYTES = 1024 * 1024
ROWS = "SELECT row_to_json(t)::text FROM {table} AS t ORDER BY t.created_at, t.id"
# JSON has no control characters of its own, so nothing in a line is ever quoted.
QUOTE, DELIMITER = "\x01", "\x02"


class _PrivateFile:
    """A new gzip file that nobody else reads."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._raw = os.fdopen(descriptor, "wb")
        self._packed = gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=LEVEL)

    async def take(self, chunk: bytes) -> None:
        await _on_disk(self._packed.write, chunk)

    def close(self) -> None:
        """What was taken is on the disk, or OSError."""
        with self._raw:
            self._packed.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())


async def write(
    connection: "asyncpg.Connection[Record]", table: str, folder: Path, *, expected: int
) -> int:
    """The size of the file with all ``expected`` rows of the table; one that is there already and
    is whole stays. StoreRefusedError if it does not hold them, or cannot be written."""
    target = folder / f"{table}.jsonl.gz"
    await _on_disk(_make_private, folder)
    if await _on_disk(_lines_of, target) == expected:
        return await _on_disk(_size_of, target)
    beside = target.with_suffix(".part")
    file = await _on_disk(_PrivateFile, beside)
    try:
        with translated():
            await connection.copy_from_query(
                ROWS.format(table=table),
                output=file.take,
                format="csv",
                quote=QUOTE,
                delimiter=DELIMITER,
                timeout=STATEMENT_LIMIT_S,
            )
    finally:
        await _on_disk(_PrivateFile.close, file)
    written = await _on_disk(_lines_of, beside)
    if written != expected:
        raise StoreRefusedError(
            f"The archive of {table} has {written} rows instead of {expected}: nothing is dropped.",
            next_step=f"Look at the disk of {folder}.",
        )
    await _on_disk(_put_in_place, beside, target)
    return await _on_disk(_size_of, target)


async def _on_disk(
    work: Callable[Args, ResultT], *args: Args.args, **kwargs: Args.kwargs
) -> ResultT:
    """What blocks, in a thread; its OSError as one of ours."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise StoreRefusedError(
            f"The archive cannot be written: {error.strerror or type(error).__name__}.",
            next_step="Look at the disk and the rights of [retention] archive_dir.",
        ) from error


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _size_of(path: Path) -> int:
    return path.stat().st_size


def _lines_of(path: Path) -> int | None:
    """Lines of a whole archive; None without one, or for one that was cut off."""
    lines = 0
    try:
        with gzip.open(path, "rb") as file:
            while chunk := file.read(READ_BYTES):
                lines += chunk.count(b"\n")
    except (FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error):
        return None
    return lines


def _put_in_place(beside: Path, target: Path) -> None:
    beside.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
