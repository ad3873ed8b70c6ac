"""What goes into a backup comes out of it, in order, and nothing that is not in it."""

import gzip
import io
import os
import stat
import tarfile
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest

from flowhq.backup import archive
from flowhq.backup.archive import ArchiveReader, ArchiveWriter, Manifest, Piece
from flowhq.backup.envelope import GivenKey, SealedWriter
from flowhq.errors import BackupError

KEY = GivenKey(b"k" * 32)
MANIFEST = Manifest(
    format=archive.FORMAT,
    tenant_id=UUID(int=7),
    schema_version=10,
    program_version="0.1.0",
    taken_at=datetime(2026, 11, 21, tzinfo=UTC),
    data_key="siri-ya-data",
    message_key="ab" * 32,
    days=(date(2026, 11, 20), date(2026, 11, 21)),
)
ROWS = [("tenants", ['{"id": 1}']), ("inbox", ['{"ord": 1}', '{"ord": 2}']), ("inbox", ["{}"])]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Like a browser's, with what does not belong into a backup."""
    profile = tmp_path / "profile"
    for name in ("Default/IndexedDB/keys.log", "Default/Cache/big", "Local State", "Default/empty"):
        path = profile / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * (0 if name.endswith("empty") else 5000))
    (profile / "SingletonLock").symlink_to("host-1234")
    (profile / "Default/link").symlink_to("/etc/passwd")
    os.mkfifo(profile / "Default/pipe")
    return profile


def written(profile: Path, *, finish: bool = True) -> bytes:
    file = io.BytesIO()
    writer = ArchiveWriter(file, KEY)
    writer.add_manifest(MANIFEST)
    writer.add_profile(profile)
    for table, lines in ROWS:
        writer.add_rows(table, lines)
    if finish:
        writer.finish()
    writer.abandon()
    return file.getvalue()


def read(file: bytes, folder: Path) -> tuple[Manifest, list[Piece]]:
    reader = ArchiveReader(io.BytesIO(file), KEY)
    manifest = reader.manifest()
    reader.extract_profile(folder)
    pieces = []
    while (piece := reader.next_piece()) is not None:
        pieces.append(piece)
    return manifest, pieces


def test_rows_and_files_come_back(profile: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    manifest, pieces = read(written(profile), folder)
    assert manifest == MANIFEST
    assert [(piece.table, list(piece.lines)) for piece in pieces] == ROWS
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {"Default/IndexedDB/keys.log", "Local State", "Default/empty"}
    for name in names:
        assert (folder / name).read_bytes() == (profile / name).read_bytes()
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_what_was_not_finished_cannot_be_read(profile: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError):
        read(written(profile, finish=False), tmp_path / "new")


def test_a_manifest_shows_no_key() -> None:
    assert "siri" not in repr(MANIFEST)
    assert "abab" not in repr(MANIFEST) + str(MANIFEST)


def forged(entries: list[tuple[tarfile.TarInfo, bytes]], *, packed: bool = True) -> bytes:
    """A stream that is authentic, and nonsense: as made by whoever knows the key."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive_file:
        for entry, content in entries:
            entry.size = len(content)
            archive_file.addfile(entry, io.BytesIO(content))
    file = io.BytesIO()
    writer = SealedWriter(file, KEY)
    writer.write(gzip.compress(tar.getvalue()) if packed else tar.getvalue())
    writer.finish()
    return file.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    made.linkname = "/etc" if kind == tarfile.SYMTYPE else ""
    return made


TELLS = MANIFEST.model_dump_json().encode()


@pytest.mark.parametrize(
    "bad",
    [
        entry("profile/../../evil"),
        entry("profile//etc/evil"),
        entry("profile/a/./b"),
        entry("profile/link", tarfile.SYMTYPE),
        entry("profile/folder", tarfile.DIRTYPE),
    ],
    ids=lambda entry: entry.name,
)
def test_no_file_gets_outside_of_the_profile(bad: tarfile.TarInfo, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "profile"
    folder.mkdir(parents=True)
    content = b"" if bad.type != tarfile.REGTYPE else b"x"
    with pytest.raises(BackupError):
        read(forged([(entry("manifest.json"), TELLS), (bad, content)]), folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(entry("rows/tenants/1.jsonl"), b"{}")],
        [(entry("manifest.json"), b"{}")],
        [(entry("manifest.json"), TELLS)],
        [(entry("manifest.json"), TELLS), (entry("end.json"), b'{"files": 1, "rows": {}}')],
        [
            (entry("manifest.json"), TELLS),
            (entry("end.json"), b'{"files": 0, "rows": {}}'),
            (entry("rows/tenants/1.jsonl"), b"{}"),
        ],
        [
            (entry("manifest.json"), TELLS),
            (entry("rows/tenants/1.jsonl"), b"{}"),
            (entry("end.json"), b'{"files": 0, "rows": {"tenants": 2}}'),
        ],
    ],
)
def test_a_stream_that_lacks_something_is_refused(
    entries: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(BackupError, match="not whole"):
        read(forged(entries), tmp_path)


def test_what_is_not_packed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="not whole"):
        read(forged([(entry("manifest.json"), TELLS)], packed=False), tmp_path)


def test_another_format_names_the_program_that_reads_it(tmp_path: Path) -> None:
    newer = MANIFEST.model_copy(update={"format": 2, "program_version": "9.1"})
    file = forged([(entry("manifest.json"), newer.model_dump_json().encode())])
    with pytest.raises(BackupError, match=r"Flow HQ 9\.1"):
        read(file, tmp_path)
