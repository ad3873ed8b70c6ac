"""The page's JSON as the product's values. The page is not trusted to keep its shape."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flowhq.model import ChatHead, InboundMessage, Jid, MessageId, MessageKind, Source

KINDS: Mapping[str, MessageKind] = {
    "chat": MessageKind.TEXT,
    "image": MessageKind.IMAGE,
    "video": MessageKind.VIDEO,
    "document": MessageKind.DOCUMENT,
    "audio": MessageKind.AUDIO,
    "ptt": MessageKind.AUDIO,
    "sticker": MessageKind.STICKER,
    "location": MessageKind.LOCATION,
    "vcard": MessageKind.CONTACTS,
    "multi_vcard": MessageKind.CONTACTS,
    "poll_creation": MessageKind.POLL,
    "order": MessageKind.ORDER,
    "product": MessageKind.ORDER,
    "buttons_response": MessageKind.INTERACTIVE,
    "list_response": MessageKind.INTERACTIVE,
    "template_button_reply": MessageKind.INTERACTIVE,
    "interactive": MessageKind.INTERACTIVE,
}


class UnreadableError(ValueError):
    """The page gave something that is no message."""


def to_message(raw: Mapping[str, Any], *, source: Source) -> InboundMessage:
    """A message as messages.js made it; UnreadableError names the member that is not as agreed."""
    raw_type = string(raw, "type")
    chat = Jid(string(raw, "chat"))
    if not chat or not string(raw, "id"):
        raise UnreadableError("id or chat is empty")
    content = raw.get("c")
    return InboundMessage(
        message_id=MessageId(string(raw, "id")),
        chat=chat,
        from_me=raw.get("me") is True,
        kind=KINDS.get(raw_type, MessageKind.UNSUPPORTED),
        text=string(raw, "text"),
        at=to_time(raw.get("t")),
        source=source,
        sender=Jid(string(raw, "from") or chat),
        phone=digits(string(raw, "phone")),
        lid=digits(string(raw, "lid")),
        push_name=string(raw, "name"),
        raw_type=raw_type,
        content=clean(content) if isinstance(content, dict) else {},
    )


NEWEST = datetime.max.replace(tzinfo=UTC)


def to_chat(raw: Mapping[str, Any]) -> ChatHead:
    """A head with a time that is none is newer than any: its chat is read to be sure."""
    last = raw.get("t")
    try:
        last_at = None if last is None else to_time(last)
    except UnreadableError:
        last_at = NEWEST
    return ChatHead(
        chat=Jid(string(raw, "chat")),
        last_at=last_at,
        phone=digits(string(raw, "phone")),
    )


def to_time(seconds: Any) -> datetime:
    """Aware UTC of seconds since the epoch."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise UnreadableError("t is no number")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise UnreadableError("t is no time") from error


def string(raw: Mapping[str, Any], name: str) -> str:
    """A member's text without NUL, which no database text can hold; "" when it is absent."""
    value = raw.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnreadableError(f"{name} is no text")
    return value.replace("\0", "")


def digits(value: str) -> str:
    return value if value.isascii() and value.isdigit() else ""


def clean(value: Any) -> Any:
    """JSON without NUL in its texts."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, dict):
        return {clean(key): clean(member) for key, member in value.items()}
    if isinstance(value, list):
        return [clean(member) for member in value]
    return value
