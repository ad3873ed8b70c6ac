"""Reads the fields of a control call; whatever is wrong is said with the field's name."""

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from flowhq.simulator import ids

MAX_TEXT_CHARS = 65_536
MAX_NAME_CHARS = 10_000
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


class FieldError(ValueError):
    """A field is missing, wrong or unknown."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Fields:
    """The fields of one call. Take what the call knows, then `finish()`: the rest is refused.

    From a query every value is text: numbers, flags and JSON are read out of it. A null is the same
    as an absent field.
    """

    def __init__(
        self, raw: Mapping[str, Any], *, from_query: bool = False, inside: str = ""
    ) -> None:
        self._raw = raw
        self._from_query = from_query
        self._inside = inside
        self._known: list[str] = []

    def path(self, name: str) -> str:
        return f"{self._inside}{name}"

    def error(self, name: str, problem: str) -> FieldError:
        return FieldError(self.path(name), problem)

    def finish(self) -> None:
        for name in self._raw:
            if name not in self._known:
                close = difflib.get_close_matches(str(name), self._known, n=1)
                hint = f", did you mean {close[0]}?" if close else ""
                known = ", ".join(self._known) or "none"
                raise self.error(str(name), f"unknown field{hint} (known: {known})")

    def value(self, name: str) -> Any:
        self._known.append(name)
        return self._raw.get(name)

    def text(self, name: str, *, max_chars: int = MAX_TEXT_CHARS, pattern: str = "") -> str | None:
        value = self.value(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.error(name, "must be a text")
        if len(value) > max_chars:
            raise self.error(name, f"is longer than {max_chars} characters")
        if pattern and not re.fullmatch(pattern, value):
            raise self.error(name, f"does not have the form {pattern}")
        return value

    def need_text(self, name: str, *, max_chars: int = MAX_TEXT_CHARS, pattern: str = "") -> str:
        value = self.text(name, max_chars=max_chars, pattern=pattern)
        if value is None:
            raise self.error(name, "is required")
        return value

    def name(self, name: str) -> str | None:
        return self.text(name, max_chars=MAX_NAME_CHARS)

    def _digits_or_text(self, name: str) -> str | None:
        value = self.value(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None and not isinstance(value, str):
            raise self.error(name, "must be a text of digits")
        return value

    def phone(self, name: str) -> str | None:
        value = self._digits_or_text(name)
        if value is None:
            return None
        phone = ids.normalise_phone(value[:64])
        if phone is None:
            raise self.error(name, "is not a phone number (5 to 20 digits, country code first)")
        return phone

    def need_phone(self, name: str) -> str:
        phone = self.phone(name)
        if phone is None:
            raise self.error(name, "is required")
        return phone

    def lid(self, name: str) -> str | None:
        value = self._digits_or_text(name)
        if value is None:
            return None
        lid = ids.normalise_lid(value[:64])
        if lid is None:
            raise self.error(name, "is not a lid (up to 20 digits)")
        return lid

    def group(self, name: str) -> str | None:
        value = self._digits_or_text(name)
        if value is None:
            return None
        jid = ids.normalise_group(value[:64])
        if jid is None:
            raise self.error(name, "must be digits, <n>@g.us, <n>@newsletter or status@broadcast")
        return jid

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.value(name)
        if self._from_query and isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise self.error(name, "must be a number") from None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise self.error(name, "must be a number")
        if not low <= value <= high:
            raise self.error(name, f"must be between {low:g} and {high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int | None:
        value = self.number(name, low, high)
        if value is not None and value != int(value):
            raise self.error(name, "must be a whole number")
        return None if value is None else int(value)

    def flag(self, name: str) -> bool | None:
        value = self.value(name)
        if self._from_query and isinstance(value, str):
            if value.lower() in _TRUE | _FALSE:
                return value.lower() in _TRUE
            raise self.error(name, "must be true or false")
        if value is not None and not isinstance(value, bool):
            raise self.error(name, "must be true or false")
        return value

    def _json(self, name: str) -> Any:
        value = self.value(name)
        if self._from_query and isinstance(value, str):
            try:
                return orjson.loads(value)
            except orjson.JSONDecodeError:
                raise self.error(name, "must be JSON") from None
        return value

    def mapping(self, name: str, max_bytes: int) -> dict[str, Any] | None:
        value = self._json(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(name, "must be an object")
        if len(orjson.dumps(value)) > max_bytes:
            raise self.error(name, f"is larger than {max_bytes} bytes")
        return value

    def items(self, name: str, max_items: int) -> "list[Fields] | None":
        """The objects of a list, each to be read and finished like the call itself."""
        value = self._json(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.error(name, "must be a list of objects")
        if len(value) > max_items:
            raise self.error(name, f"has more than {max_items} items")
        for position, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.error(f"{name}[{position}]", "must be an object")
        return [
            Fields(item, inside=f"{self._inside}{name}[{position}].")
            for position, item in enumerate(value)
        ]

    def texts(self, name: str, max_items: int) -> list[str] | None:
        """A list of texts; a query may give one text with commas instead of JSON."""
        value = self._raw.get(name)
        if self._from_query and isinstance(value, str) and not value.lstrip().startswith("["):
            self._known.append(name)
            return [part.strip() for part in value.split(",") if part.strip()]
        value = self._json(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, "must be a list of texts")
        if len(value) > max_items:
            raise self.error(name, f"has more than {max_items} items")
        return value
