"""Phone numbers as the API takes them: international, and really possible."""

import re

import phonenumbers

from flowhq.errors import InvalidInputError

_WRITTEN = re.compile(r"(?:\+|00) ?[0-9][0-9 ().-]{4,30}")


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
