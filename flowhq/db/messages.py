"""A message on its way into and out of the inbox: addresses, numbers and the stored payload."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from asyncpg import Record

from flowhq.db.cleaning import clean_content, clean_id, clean_text, clean_time
from flowhq.model import InboundMessage, Jid, MessageId, MessageKind, Source

PHONE_SERVER = "c.us"
LID_SERVER = "lid"
# ITU-T E.164: at most 15 digits; the shortest numbers in use have 7.
PHONE_DIGITS = re.compile(r"[1-9][0-9]{6,14}")
PUSH_NAME_MAX = 200
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Addresses:
    """Whom a chat is with, under every name that this message gives it."""

    chat: str
    jids: list[str]
    phone: str | None
    lid: str | None


def addresses_of(message: InboundMessage) -> Addresses:
    """The chat's jid first; with it the jids of the contact's number and LID, if it has them."""
    chat = clean_id(message.chat, field="chat")
    user, _, server = chat.partition("@")
    if server not in (PHONE_SERVER, LID_SERVER):
        return Addresses(chat, [chat], None, None)
    digits = message.phone.lstrip("+") or (user if server == PHONE_SERVER else "")
    lid = message.lid.partition("@")[0] or (user if server == LID_SERVER else "")
    jids = {chat: None}
    phone = f"+{digits}" if PHONE_DIGITS.fullmatch(digits) else None
    if phone is not None:
        jids[f"{digits}@{PHONE_SERVER}"] = None
    if lid:
        jids[clean_id(f"{lid}@{LID_SERVER}", field="lid")] = None
    return Addresses(chat, list(jids), phone, f"{lid}@{LID_SERVER}" if lid else None)


def payload_of(message: InboundMessage) -> dict[str, Any]:
    """Everything that ``message_from`` needs and the inbox has no column for."""
    return {
        "chat": message.chat,
        "kind": message.kind.value,
        "text": clean_text(message.text),
        "sender": clean_text(message.sender),
        "phone": clean_text(message.phone),
        "lid": clean_text(message.lid),
        "push_name": push_name_of(message),
        "raw_type": clean_text(message.raw_type),
        "content": clean_content(message.content),
    }


def digest_of(message: InboundMessage) -> bytes:
    """The same for every showing of one message: of what was written, not of how it came."""
    said = [message.kind.value, clean_text(message.text), clean_content(message.content)]
    written = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(written).digest()[:DIGEST_BYTES]


def push_name_of(message: InboundMessage) -> str:
    return clean_text(message.push_name)[:PUSH_NAME_MAX]


def message_from(row: Record) -> InboundMessage:
    """The message as it was recorded, of a row that waits: a settled one keeps no payload."""
    payload = row["payload"]
    return InboundMessage(
        message_id=MessageId(row["wa_message_id"]),
        chat=Jid(payload["chat"]),
        from_me=row["from_me"],
        kind=MessageKind(payload["kind"]),
        text=payload["text"],
        at=row["wa_timestamp"],
        source=Source(row["source"]),
        sender=Jid(payload["sender"]),
        phone=payload["phone"],
        lid=payload["lid"],
        push_name=payload["push_name"],
        raw_type=payload["raw_type"],
        content=payload["content"],
    )


def time_of(message: InboundMessage) -> datetime:
    """When it was sent, by the platform's clock, as far as that can be stored."""
    return clean_time(message.at if message.at.tzinfo else message.at.replace(tzinfo=UTC))
