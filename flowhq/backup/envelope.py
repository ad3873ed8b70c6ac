"""An encrypted stream in one file: written and read in chunks, each authenticated with its place.

    FLOWHQ BACKUP 1\\n | length of the header (4 bytes) | header (JSON) | chunks

A chunk is 64 KiB sealed with AES-256-GCM; its nonce is its number and whether it is the last one,
so that none can be altered, moved, dropped or added unnoticed. The key of a file is its own: it
comes from a passphrase (Argon2id) or from a given key, with a random salt and the header (HKDF).
What is inside is no business of this module.
"""

import base64
import errno
import io
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from flowhq.errors import BackupError

MAGIC = b"FLOWHQ BACKUP 1\n"
HEADER_MAX_BYTES = 4096
CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
KEY_BYTES = 32
SALT_BYTES = 16
# RFC 9106, second recommendation: 64 MiB, three passes, four lanes.
ARGON2 = {"time_cost": 3, "memory_kib": 64 * 1024, "lanes": 4}
# A file may ask for more than that, but not for the whole machine.
ARGON2_MOST = {"time_cost": 20, "memory_kib": 1024 * 1024, "lanes": 16}

ANOTHER_COPY = "Take another copy of the file."


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What a person knows."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class GivenKey:
    """32 random bytes that a machine keeps."""

    key: bytes = field(repr=False)


Lock = Passphrase | GivenKey


class SealedWriter(io.RawIOBase):
    """Encrypts what is written to it into ``file``, which it does not own. Only `finish` makes the
    stream whole; a stream without it cannot be read to its end. `break_off`, from any thread, makes
    the next write an OSError, and every one after it."""

    def __init__(self, file: BinaryIO, lock: Lock) -> None:
        self._file = file
        header = _new_header(lock)
        file.write(MAGIC + len(header).to_bytes(4, "big") + header)
        self._cipher = _cipher(lock, header)
        self._waiting = bytearray()
        self._number = 0
        self._broken_off = False

    def break_off(self) -> None:
        self._broken_off = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._broken_off:
            raise OSError(errno.ECANCELED, "it was broken off")
        self._waiting += data
        # One chunk is kept back, since nobody knows yet whether it is the last.
        while len(self._waiting) > CHUNK_BYTES:
            self._emit(bytes(self._waiting[:CHUNK_BYTES]), last=False)
            del self._waiting[:CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        """The last chunk; nothing can be written afterwards."""
        self._emit(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _emit(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, None))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Decrypts ``file``, which it does not own. Every byte it gives is authenticated; a stream
    that ends before its last chunk, or goes on after it, is BackupError."""

    def __init__(self, file: BinaryIO, lock: Lock) -> None:
        self._file = file
        self._cipher = _cipher(lock, _read_header(file))
        self._clear = memoryview(b"")
        self._ahead = file.read(CHUNK_BYTES + TAG_BYTES)
        self._number = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._clear and not self._ended:
            self._clear = memoryview(self._next())
        taken = self._clear[: len(buffer)]
        buffer[: len(taken)] = taken
        self._clear = self._clear[len(taken) :]
        return len(taken)

    def _next(self) -> bytes:
        sealed, self._ahead = self._ahead, self._file.read(CHUNK_BYTES + TAG_BYTES)
        self._ended = not self._ahead
        try:
            chunk = self._cipher.decrypt(_nonce(self._number, last=self._ended), sealed, None)
        except (InvalidTag, ValueError):
            raise self._broken() from None
        self._number += 1
        return chunk

    def _broken(self) -> BackupError:
        if self._number == 0:
            return BackupError(
                "The backup cannot be opened: another passphrase or key, or its beginning was "
                "altered.",
                next_step="Try the right one. " + ANOTHER_COPY,
            )
        return BackupError("The backup is cut or was altered.", next_step=ANOTHER_COPY)


def _new_header(lock: Lock) -> bytes:
    header: dict[str, object] = {"salt": base64.b64encode(secrets.token_bytes(SALT_BYTES)).decode()}
    match lock:
        case Passphrase():
            header |= {"key": "argon2id", **ARGON2}
        case GivenKey():
            header |= {"key": "given"}
    return json.dumps(header).encode()


def _read_header(file: BinaryIO) -> bytes:
    if file.read(len(MAGIC)) != MAGIC:
        raise BackupError(
            "This is no backup of a tenant, or one of a newer Flow HQ.",
            next_step="Name a file that backup-tenant or the API wrote.",
        )
    length = int.from_bytes(file.read(4), "big")
    header = file.read(length) if length <= HEADER_MAX_BYTES else b""
    if len(header) != length or not length:
        raise BackupError("The backup is cut or was altered.", next_step=ANOTHER_COPY)
    return header


def _cipher(lock: Lock, header: bytes) -> AESGCM:
    """The cipher of the file with this header; BackupError if the header and the lock differ."""
    said = _parse(header)
    match lock, said["key"]:
        case Passphrase(), "argon2id":
            secret = hash_secret_raw(
                lock.text.encode(),
                said["salt"],
                time_cost=said["time_cost"],
                memory_cost=said["memory_kib"],
                parallelism=said["lanes"],
                hash_len=KEY_BYTES,
                type=Type.ID,
            )
        case GivenKey(), "given":
            secret = lock.key
        case _:
            kind = "a passphrase" if said["key"] == "argon2id" else "a key from a file"
            raise BackupError(f"The backup was locked with {kind}.", next_step="Give that one.")
    derived = HKDF(SHA256(), KEY_BYTES, salt=said["salt"], info=MAGIC + header).derive(secret)
    return AESGCM(derived)


def _parse(header: bytes) -> dict[str, Any]:
    """The header's values within their bounds."""
    try:
        said = cast(dict[str, Any], json.loads(header))
        said["salt"] = base64.b64decode(said["salt"], validate=True)
        if said["key"] == "argon2id":
            for name, most in ARGON2_MOST.items():
                if not 1 <= int(said[name]) <= most:
                    raise ValueError(name)
        if said["key"] not in ("argon2id", "given") or len(said["salt"]) != SALT_BYTES:
            raise ValueError("key")
    except (ValueError, KeyError, TypeError):
        raise BackupError("The backup's header was altered.", next_step=ANOTHER_COPY) from None
    return said


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
