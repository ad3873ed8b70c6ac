"""Files for their owner alone: keys in their written form, and files that appear whole or not at
all. Errors are those of the operating system, and ValueError for what is no key: whoever calls
knows what the file is for.
"""

import base64
import binascii
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

KEY_BYTES = 32
# A key's line has 45 characters; whatever is much larger is no key.
KEY_FILE_MAX_BYTES = 1000


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A file of mode 0600 beside ``target`` that takes its name at the end of the block, once its
    content is on the disk; removed if the block fails. An existing file is never replaced."""
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    _refuse_present(target)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        _refuse_present(target)
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """The names in it are on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_key_text(path: Path) -> str:
    """The beginning of a file that holds a key, whatever it is."""
    with path.open("rb") as file:
        return file.read(KEY_FILE_MAX_BYTES).decode("ascii", "replace")


def parse_key(text: str) -> bytes:
    """32 bytes as base64, as ``openssl rand -base64 32`` prints them; ValueError if it is not."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"not {KEY_BYTES} bytes")
    return key


def write_key() -> str:
    """A new random key in its written form."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n"


def _refuse_present(target: Path) -> None:
    if target.exists():
        raise FileExistsError(errno.EEXIST, "it exists already")
