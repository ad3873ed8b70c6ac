"""Phone numbers as the API takes them: international, and really possible."""

import re

import phonenumbers

from flowhq.errors import InvalidInputError

_WRITTEN = re.compile(r"(?:\+|00) ?[0-9][0-9 ().-]{4,30}")
_PLATFORM_ID = re.compile(r"[0-9]{5,20}(?::[0-9]{1,4})?@[a-z.]{1,20}")


def to_contact(written: str) -> str:
    """The E.164 number, or the platform's id of a contact whose number is not known."""
    text = written.strip()
    if _PLATFORM_ID.fullmatch(text):
        return text
    # In an address, a plus that was not encoded arrives as a space.
    return to_e164(f"+{text}" if text[:1].isdecimal() and not text.startswith("0") else text)


def to_e164(written: str) -> str:
    """``+255712345678`` for a number written with + or 00; InvalidInputError if it is none."""
    text = written.strip()
    if not _WRITTEN.fullmatch(text):
        raise InvalidInputError("write it with the country code, such as +255712345678.", field="")
    if text.startswith("00"):
        text = f"+{text[2:]}"
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException as error:
        raise InvalidInputError(
            "has no known country code: write it such as +255712345678.", field=""
        ) from error
    if not phonenumbers.is_valid_number(number):
        raise InvalidInputError("is no phone number of its country.", field="")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
