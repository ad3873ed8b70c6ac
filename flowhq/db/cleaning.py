"""What PostgreSQL would refuse, made storable: zero bytes, lone surrogates, endless ids.

A customer's odd message must neither be lost nor stop the chat behind it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from flowhq.errors import InvalidInputError

# Real ids have 16 to 32 characters (Cloud API: about 70). An index row holds 2,704 bytes.
ID_MAX = 200
# The first second that a phone of ours can have sent in; asyncpg's own range ends at 9999.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# What is kept beside the text of a message; larger things are files, which we do not keep.
CONTENT_MAX_BYTES = 65_536
ERROR_MAX = 500


def clean_text(text: str) -> str:
    """The text without zero bytes, pairs of surrogates joined, lone ones replaced."""
    text = text.replace("\x00", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_id(value: str, *, field: str) -> str:
    """The id as it is; InvalidInputError if it is empty, too long or not storable."""
    if not value or len(value) > ID_MAX or clean_text(value) != value:
        raise InvalidInputError(f"An id of {len(value)} characters cannot be stored.", field=field)
    return value


def clean_time(at: datetime) -> datetime:
    """Aware UTC, not before 1970."""
    try:
        return max(at.astimezone(UTC), EARLIEST)
    except OverflowError:
        return EARLIEST


def clean_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON with clean texts. What is too large or no JSON is replaced by a word about it."""
    try:
        cleaned = clean_json(content)
        size = len(orjson.dumps(cleaned))
    except (TypeError, ValueError, RecursionError):
        return {"dropped": "not JSON"}
    if size > CONTENT_MAX_BYTES:
        return {"dropped": f"{size} bytes"}
    return cleaned


def clean_error(error: str) -> str:
    """One short line for a person."""
    return clean_text(error)[:ERROR_MAX]


def clean_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with clean texts, keys included."""
    return {clean_text(str(key)): _clean(value) for key, value in content.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return clean_json(value)
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
