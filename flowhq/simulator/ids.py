"""How WhatsApp spells things: phone numbers, jids, message ids."""

import hashlib
import re
import secrets

_SEPARATORS = re.compile(r"[\s().-]")
_PERSON_SERVERS = ("@c.us", "@s.whatsapp.net")
_SERIALIZED_KEY = re.compile(r"(?:true|false)_[^_@]+@[a-z.]+_([^_]+)(?:_.*)?")


def normalise_phone(text: str) -> str | None:
    """The bare digits of a phone number or personal jid; None when it is none."""
    for server in _PERSON_SERVERS:
        text = text.removesuffix(server)
    digits = _SEPARATORS.sub("", text).removeprefix("+")
    return digits if digits.isascii() and digits.isdigit() and 5 <= len(digits) <= 20 else None


def normalise_lid(text: str) -> str | None:
    digits = text.removesuffix("@lid")
    return digits if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None


def normalise_group(text: str) -> str | None:
    """The jid of a group; a status or newsletter jid passes as it is."""
    if text == "status@broadcast":
        return text
    user, _, server = text.partition("@")
    if not re.fullmatch(r"[0-9]{1,20}(-[0-9]{1,20})?", user):
        return None
    return f"{user}@{server or 'g.us'}" if server in {"", "g.us", "newsletter"} else None


def person_jid(phone: str) -> str:
    return f"{phone}@c.us"


def lid_jid(lid: str) -> str:
    return f"{lid}@lid"


def made_up_lid(phone: str) -> str:
    """A lid for a number that none was given for; always the same one for the same number."""
    number = int.from_bytes(hashlib.sha256(f"lid:{phone}".encode()).digest()[:8])
    return f"1{number % 10**14:014d}"


def new_phone_message_id() -> str:
    """An id as Android phones make them."""
    return "AC" + secrets.token_hex(15).upper()


def new_device_id() -> str:
    return secrets.token_hex(8)


def new_ref() -> str:
    """The first part of a QR code; it never contains a comma."""
    return "2@" + secrets.token_urlsafe(96)


def bare_message_id(text: str) -> str:
    """The id alone, also out of the serialized form `true_<jid>_<id>`."""
    match = _SERIALIZED_KEY.fullmatch(text)
    return match.group(1) if match else text
