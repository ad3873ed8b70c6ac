"""Secrets at rest: texts sealed with data keys, and data keys wrapped by the master key.

A tenant has a data key of its own, the installation another one. The database holds them wrapped
(db/datakeys.py); the master key that opens them is never there. Nothing here reads a file or a row.
"""

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flowhq.errors import SealedError
from flowhq.model import TenantId

# AES-256-GCM. Nonces are drawn at random: far below the 2^32 seals that one key is good for.
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
# The first byte of everything sealed: how the rest is to be read.
VERSION = b"\x01"
KEY_ID_CHARS = 16

SET_ANEW = (
    "Set it anew (a pairing code: restart the worker), or restore the database from a backup."
)


class MasterKey:
    """Wraps data keys and nothing else. ``key_id`` names it without telling anything about it."""

    __slots__ = ("_cipher", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"flowhq master key " + key).hexdigest()[:KEY_ID_CHARS]

    def wrap(self, key: bytes, owner: TenantId | None) -> bytes:
        return _encrypt(self._cipher, key, _wrapping(owner))

    def unwrap(self, wrapped: bytes, owner: TenantId | None) -> "DataKey":
        """SealedError if another master key wrapped it, if it was altered, or is another's."""
        what = f"The data key of {_name(owner)}"
        try:
            return DataKey(_decrypt(self._cipher, wrapped, _wrapping(owner), what), owner)
        except SealedError as error:
            raise SealedError(
                error.message,
                next_step="Give the daemon the master key that this database was written with "
                "([secrets] master_key_file), or restore the row of data_keys from a backup.",
            ) from error


class DataKey:
    """Seals texts of one tenant (``owner`` None: of the installation), each for one place.

    ``column`` is ``table.column`` and ``row`` the primary key of the row that a text is stored in:
    what was sealed for one place opens at no other, and with no other key.
    """

    __slots__ = ("_cipher", "_key", "owner")

    def __init__(self, key: bytes, owner: TenantId | None) -> None:
        if len(key) != KEY_BYTES:
            raise SealedError(f"The data key of {_name(owner)} is no key.", next_step=SET_ANEW)
        self._key = key
        self._cipher = AESGCM(key)
        self.owner = owner

    @classmethod
    def make(cls, owner: TenantId | None) -> "DataKey":
        return cls(secrets.token_bytes(KEY_BYTES), owner)

    def wrapped_by(self, master: MasterKey) -> bytes:
        return master.wrap(self._key, self.owner)

    def carried(self) -> str:
        """The key itself as text, for an encrypted backup alone; `taken` reads it."""
        return base64.b64encode(self._key).decode()

    @classmethod
    def taken(cls, carried: str, owner: TenantId) -> "DataKey":
        try:
            return cls(base64.b64decode(carried, validate=True), owner)
        except binascii.Error as error:
            raise SealedError(f"The data key of {_name(owner)} is no key.") from error

    def seal(self, text: str, *, column: str, row: str) -> bytes:
        return _encrypt(self._cipher, text.encode(), self._place(column, row))

    def open(self, sealed: bytes, *, column: str, row: str) -> str:
        """The text that was sealed for this place; SealedError names the place, never the text."""
        what = f"{column} of {_name(self.owner)}"
        return _decrypt(self._cipher, sealed, self._place(column, row), what).decode()

    def _place(self, column: str, row: str) -> bytes:
        return _parts(b"place", _owner_bytes(self.owner), column.encode(), row.encode())


@dataclass(frozen=True, slots=True)
class Vault:
    """What a running installation opens its secrets with; it holds no tenant's key."""

    master: MasterKey = field(repr=False)
    installation: DataKey = field(repr=False)


def _encrypt(cipher: AESGCM, plain: bytes, context: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return VERSION + nonce + cipher.encrypt(nonce, plain, VERSION + context)


def _decrypt(cipher: AESGCM, sealed: bytes, context: bytes, what: str) -> bytes:
    version, nonce = sealed[:1], sealed[1 : 1 + NONCE_BYTES]
    if len(sealed) < 1 + NONCE_BYTES + TAG_BYTES:
        raise SealedError(f"{what} is cut: it cannot be opened.", next_step=SET_ANEW)
    if version != VERSION:
        raise SealedError(
            f"{what} was sealed in a way that this version does not know.",
            next_step="Run the newer Flow HQ that wrote it. " + SET_ANEW,
        )
    try:
        return cipher.decrypt(nonce, sealed[1 + NONCE_BYTES :], VERSION + context)
    except InvalidTag:
        raise SealedError(
            f"{what} cannot be opened: it was altered, stems from another place, or was sealed "
            "with another key.",
            next_step=SET_ANEW,
        ) from None


def _wrapping(owner: TenantId | None) -> bytes:
    return _parts(b"data key", _owner_bytes(owner))


def _owner_bytes(owner: TenantId | None) -> bytes:
    return b"" if owner is None else owner.bytes


def _parts(*parts: bytes) -> bytes:
    """The parts so that no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _name(owner: TenantId | None) -> str:
    return "the installation" if owner is None else f"tenant {owner}"
