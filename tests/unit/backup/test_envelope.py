"""A backup's encryption: whole and unchanged, or not at all."""

import io
import json

import pytest

from flowhq.backup import envelope
from flowhq.backup.envelope import (
    CHUNK_BYTES,
    MAGIC,
    TAG_BYTES,
    GivenKey,
    Lock,
    Passphrase,
    SealedReader,
    SealedWriter,
)
from flowhq.errors import BackupError

KEY = GivenKey(b"k" * 32)
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7]


@pytest.fixture(autouse=True)
def quick_argon2(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guess costs is not what is tested."""
    monkeypatch.setattr(envelope, "ARGON2", {"time_cost": 1, "memory_kib": 64, "lanes": 1})


def sealed(content: bytes, lock: Lock = KEY, piece: int = 10_007) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, lock)
    for at in range(0, len(content), piece):
        writer.write(content[at : at + piece])
    writer.finish()
    return file.getvalue()


def opened(file: bytes, lock: Lock = KEY) -> bytes:
    return io.BufferedReader(SealedReader(io.BytesIO(file), lock)).read()


def body_of(file: bytes) -> int:
    """Where the chunks begin."""
    length = len(MAGIC) + 4
    return length + int.from_bytes(file[len(MAGIC) : length], "big")


def content(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


@pytest.mark.parametrize("lock", [KEY, Passphrase("ndege wawili mtini")])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(size: int, lock: Lock) -> None:
    assert opened(sealed(content(size), lock), lock) == content(size)


def test_two_files_of_one_content_differ_and_show_nothing_of_it() -> None:
    plain = b"siri kubwa " * 1000
    one, other = sealed(plain), sealed(plain)
    assert one[body_of(one) :] != other[body_of(other) :]
    assert b"siri" not in one


@pytest.mark.parametrize(
    ("written", "tried"),
    [
        (KEY, GivenKey(b"x" * 32)),
        (Passphrase("ndege wawili mtini"), Passphrase("ndege wawili mtinI")),
    ],
)
def test_another_key_opens_nothing(written: Lock, tried: Lock) -> None:
    with pytest.raises(BackupError, match="another passphrase or key"):
        opened(sealed(content(100), written), tried)


@pytest.mark.parametrize(
    ("written", "tried", "named"),
    [
        (KEY, Passphrase("ndege wawili mtini"), "a key from a file"),
        (Passphrase("ndege wawili mtini"), KEY, "a passphrase"),
    ],
)
def test_the_other_kind_of_lock_is_named(written: Lock, tried: Lock, named: str) -> None:
    with pytest.raises(BackupError, match=f"locked with {named}"):
        opened(sealed(b"x", written), tried)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
def test_every_cut_is_noticed(size: int) -> None:
    file = sealed(content(size))
    body, step = body_of(file), CHUNK_BYTES + TAG_BYTES
    cuts = {0, 3, len(MAGIC), body - 1, body, body + 1, body + step, body + 2 * step, len(file) - 1}
    for cut in {cut for cut in cuts if cut < len(file)}:
        with pytest.raises(BackupError):
            opened(file[:cut])


def test_chunks_cannot_be_altered_dropped_moved_repeated_or_added() -> None:
    file = sealed(content(4 * CHUNK_BYTES))
    body, step = body_of(file), CHUNK_BYTES + TAG_BYTES
    head, chunks = file[:body], [file[at : at + step] for at in range(body, len(file), step)]
    assert len(chunks) == 4
    flipped = bytes([chunks[1][5] ^ 1]) + chunks[1][1:]
    for broken in (
        [chunks[0], flipped, chunks[2], chunks[3]],
        [chunks[0], chunks[2], chunks[3]],
        [chunks[1], chunks[0], chunks[2], chunks[3]],
        [chunks[0], chunks[0], chunks[1], chunks[2], chunks[3]],
        [*chunks, chunks[3]],
        [*chunks, b"\0"],
        chunks[:3],
    ):
        with pytest.raises(BackupError, match=r"cut or was altered|another passphrase or key"):
            opened(head + b"".join(broken))


def test_a_chunk_of_another_file_with_the_same_key_is_noticed() -> None:
    one, other = sealed(content(2 * CHUNK_BYTES)), sealed(content(2 * CHUNK_BYTES))
    step = CHUNK_BYTES + TAG_BYTES
    mixed = one[: body_of(one) + step] + other[body_of(other) + step :]
    with pytest.raises(BackupError, match="cut or was altered"):
        opened(mixed)


def test_an_altered_header_is_noticed() -> None:
    file = sealed(b"x")
    start, end = len(MAGIC) + 4, body_of(file)
    for header in (
        file[start:end].replace(b'"given"', b'"taken"'),
        file[start:end].replace(b'"salt": "', b'"salt": "AA')[: end - start],
        b" " * (end - start),
    ):
        with pytest.raises(BackupError):
            opened(file[:start] + header + file[end:])


@pytest.mark.parametrize(
    "costs", [{"memory_kib": 2**30}, {"time_cost": 0}, {"lanes": 1000}, {"lanes": "many"}]
)
def test_a_header_that_asks_for_the_whole_machine_is_refused(costs: dict[str, object]) -> None:
    asked = {"key": "argon2id", "time_cost": 1, "memory_kib": 64, "lanes": 1} | costs
    header = json.dumps(asked | {"salt": "AAAAAAAAAAAAAAAAAAAAAA=="}).encode()
    file = MAGIC + len(header).to_bytes(4, "big") + header + b"x" * 100
    with pytest.raises(BackupError, match="header was altered"):
        opened(file, Passphrase("ndege wawili mtini"))


@pytest.mark.parametrize("file", [b"", b"PK\x03\x04", b"FLOWHQ BACKUP 2\n" + b"x" * 100])
def test_another_kind_of_file_is_refused(file: bytes) -> None:
    with pytest.raises(BackupError, match="no backup of a tenant"):
        opened(file)


def test_locks_never_show_themselves() -> None:
    shown = repr((KEY, Passphrase("ndege wawili mtini")))
    assert "kkkk" not in shown
    assert "ndege" not in shown
