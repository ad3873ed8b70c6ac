"""Versions of rows: a change is made to what its client has seen, or not at all."""

import hashlib
from collections.abc import Collection
from datetime import datetime

from flowhq.errors import ChangedMeanwhileError

VERSION_CHARS = 16


def version_at(updated_at: datetime) -> str:
    """The version of a row whose ``updated_at`` moves with every change that a client can see."""
    return digest_of(updated_at.isoformat().encode())


def digest_of(content: bytes) -> str:
    """One short word for this content."""
    return hashlib.sha256(content).hexdigest()[:VERSION_CHARS]


def refuse_unseen(what: str, version: str, seen: Collection[str] | None) -> None:
    """ChangedMeanwhileError if ``seen`` is given and the version is none of them."""
    if seen is not None and version not in seen:
        raise ChangedMeanwhileError(
            f"{what} is not what it was any more.",
            next_step="Get it again, and make the change to what it is now.",
        )
