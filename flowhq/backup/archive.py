"""What a backup holds, and in which order: a compressed tar of JSON and files, encrypted.

    manifest.json                  whose it is, of which schema, the tenant's keys
    profile/...                    the files of the browser profile
    rows/<table>/<number>.jsonl    rows as JSON, a line each, in the order in which to insert them
    end.json                       how many files and rows there were

Written and read in this order, a piece at a time. Everything here blocks: call it in a thread.
"""

import gzip
import io
import os
import shutil
import stat
import tarfile
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flowhq.backup.envelope import ANOTHER_COPY, Lock, SealedReader, SealedWriter
from flowhq.errors import BackupError

FORMAT = 1
MANIFEST, END = "manifest.json", "end.json"
PROFILE, ROWS = "profile/", "rows/"
# A piece of rows is about half of this; the reader takes no more into memory.
PIECE_MAX_BYTES = 64 * 1024 * 1024
COMPRESSION = 6
# Ten years and more; each makes a partition.
DAYS_MAX = 4000
# What Chromium makes again by itself, and what belongs to a running one.
NOT_CARRIED = frozenset(
    {
        "Cache",
        "Code Cache",
        "GPUCache",
        "GrShaderCache",
        "GraphiteDawnCache",
        "DawnGraphiteCache",
        "DawnWebGPUCache",
        "ShaderCache",
        "Crashpad",
        "DevToolsActivePort",
        "SingletonLock",
        "SingletonCookie",
        "SingletonSocket",
    }
)


class Manifest(BaseModel):
    """The first thing in a backup. ``days`` are those on which the tenant has messages."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    format: int
    tenant_id: UUID
    schema_version: int
    program_version: str
    taken_at: datetime
    data_key: str
    message_key: str = Field(pattern="^[0-9a-f]{64}$")
    days: tuple[date, ...] = Field(max_length=DAYS_MAX)

    def __repr__(self) -> str:
        return f"Manifest({self.tenant_id})"

    __str__ = __repr__


class End(BaseModel):
    """The last thing in a backup: what must have been read by then."""

    model_config = ConfigDict(extra="forbid")

    files: int
    rows: Mapping[str, int]


@dataclass(slots=True)
class Tally:
    """What went through: the number of files, and of rows by table."""

    files: int = 0
    rows: dict[str, int] = field(default_factory=dict)

    def count(self, table: str, rows: int) -> None:
        self.rows[table] = self.rows.get(table, 0) + rows

    def end(self) -> End:
        return End(files=self.files, rows=self.rows)


class ArchiveWriter:
    """Writes a backup into ``file``, which it does not own; whole only after `finish`."""

    def __init__(self, file: BinaryIO, lock: Lock) -> None:
        self._sealed = SealedWriter(file, lock)
        self._packed = gzip.GzipFile(fileobj=self._sealed, mode="wb", compresslevel=COMPRESSION)
        self._tar = tarfile.open(fileobj=self._packed, mode="w|")  # noqa: SIM115 - till `finish`
        self._pieces = 0
        self.tally = Tally()

    def add_manifest(self, manifest: Manifest) -> None:
        self._add(MANIFEST, manifest.model_dump_json().encode())

    def add_profile(self, profile: Path) -> None:
        """The files of a profile that no browser uses; what is no file or folder stays out."""
        for folder, folders, files in os.walk(profile):
            folders[:] = sorted(set(folders) - NOT_CARRIED)
            for name in sorted(set(files) - NOT_CARRIED):
                self._add_file(profile, Path(folder) / name)

    def add_rows(self, table: str, lines: Sequence[str]) -> None:
        self._pieces += 1
        self._add(f"{ROWS}{table}/{self._pieces:08}.jsonl", "\n".join(lines).encode())
        self.tally.count(table, len(lines))

    def finish(self) -> None:
        self._add(END, self.tally.end().model_dump_json().encode())
        self._tar.close()
        self._packed.close()
        self._sealed.finish()

    def break_off(self) -> None:
        """Whatever another thread is writing ends within a block, with an OSError."""
        self._sealed.break_off()

    def abandon(self) -> None:
        """Lets go of everything without making the file whole; safe after any error."""
        with suppress(OSError):
            self._tar.close()
        with suppress(OSError):
            self._packed.close()

    def _add_file(self, profile: Path, path: Path) -> None:
        if not stat.S_ISREG(path.lstat().st_mode):
            return
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._tar.addfile(_entry(PROFILE + str(path.relative_to(profile)), size), file)
        self.tally.files += 1

    def _add(self, name: str, content: bytes) -> None:
        self._tar.addfile(_entry(name, len(content)), io.BytesIO(content))


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one table, each as JSON, in order."""

    table: str
    lines: Sequence[str]


class ArchiveReader:
    """Reads a backup in its order: `manifest`, `extract_profile`, then `pieces` to its end.

    BackupError whenever the file is not what was written.
    """

    def __init__(self, file: BinaryIO, lock: Lock) -> None:
        self._sealed = SealedReader(file, lock)
        # Unpacked here and not by tarfile, which ends quietly where a stream is cut.
        self._packed = gzip.GzipFile(fileobj=io.BufferedReader(self._sealed), mode="rb")
        self._tar: tarfile.TarFile | None = None
        self._next: tarfile.TarInfo | None = None
        self.tally = Tally()

    def manifest(self) -> Manifest:
        try:
            self._tar = tarfile.open(fileobj=self._packed, mode="r|")  # noqa: SIM115
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise _unreadable() from error
        self._step()
        try:
            manifest = Manifest.model_validate_json(self._content(MANIFEST))
        except ValidationError as error:
            raise _unreadable() from error
        if manifest.format != FORMAT:
            raise BackupError(
                f"The backup has format {manifest.format}, this program reads {FORMAT}.",
                next_step=f"Restore it with Flow HQ {manifest.program_version}.",
            )
        self._step()
        return manifest

    def extract_profile(self, folder: Path) -> None:
        """The files of the profile below ``folder``, for its owner alone."""
        while (entry := self._next) is not None and entry.name.startswith(PROFILE):
            place = _place(folder, entry)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                self._copy(entry, file)
            self.tally.files += 1
            self._step()

    def next_piece(self) -> Piece | None:
        """The next rows; None when everything was read and all of it was there."""
        entry = self._next
        if entry is None or not entry.name.startswith(ROWS):
            self._check_end()
            return None
        table = entry.name.removeprefix(ROWS).partition("/")[0]
        lines = self._content(entry.name).decode().split("\n")
        self.tally.count(table, len(lines))
        self._step()
        return Piece(table, lines)

    def close(self) -> None:
        """Lets go of everything; the file itself is not closed."""
        if self._tar is not None:
            self._tar.close()
        self._packed.close()

    def _check_end(self) -> None:
        try:
            end = End.model_validate_json(self._content(END))
        except ValidationError as error:
            raise _unreadable() from error
        self._step()
        rest = self._next is not None or self._drain()
        if rest or end != self.tally.end():
            raise _unreadable()

    def _drain(self) -> bool:
        """Reads to the end, so that the last chunk is checked; True if it is not just padding."""
        try:
            while block := self._packed.read(io.DEFAULT_BUFFER_SIZE):
                if block.strip(b"\0"):
                    return True
        except (EOFError, OSError, zlib.error) as error:
            raise _unreadable() from error
        return False

    def _step(self) -> None:
        assert self._tar is not None  # noqa: S101 - manifest() comes first
        try:
            self._next = self._tar.next()
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise _unreadable() from error

    def _content(self, name: str) -> bytes:
        entry = self._next
        if entry is None or entry.name != name or entry.size > PIECE_MAX_BYTES:
            raise _unreadable()
        buffer = io.BytesIO()
        self._copy(entry, buffer)
        return buffer.getvalue()

    def _copy(self, entry: tarfile.TarInfo, target: BinaryIO) -> None:
        assert self._tar is not None  # noqa: S101 - manifest() comes first
        try:
            source = self._tar.extractfile(entry)
            if source is None:
                raise _unreadable()
            shutil.copyfileobj(source, target)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise _unreadable() from error


def _place(folder: Path, entry: tarfile.TarInfo) -> Path:
    """Where a file of the profile goes; never outside of the folder."""
    parts = entry.name.removeprefix(PROFILE).split("/")
    if not entry.isreg() or not all(parts) or {".", ".."} & set(parts):
        raise _unreadable()
    return folder.joinpath(*parts)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    return entry


def _unreadable() -> BackupError:
    return BackupError("The backup is not whole.", next_step=ANOTHER_COPY)
