"""Reading a tenant's JSON: every refusal names the field's path and, for a key, the likely one."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from flowhq.errors import InvalidInputError


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?``, or nothing when no known word is near."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""


def read_object(value: object, field: str) -> Mapping[str, Any]:
    """The value as a JSON object. InvalidInputError if it is anything else."""
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{field} must be an object, not {kind_of(value)}.", field=field)
    return value


def refuse_unknown_keys(value: Mapping[str, Any], known: Iterable[str], field: str) -> None:
    """InvalidInputError for the first key that is not known."""
    allowed = list(known)
    for key in value:
        if key not in allowed:
            shown = str(key)[:40]
            raise InvalidInputError(
                f"{field} has no setting '{shown}'.",
                field=f"{field}.{shown}",
                next_step=did_you_mean(shown, allowed) or f"Known: {', '.join(allowed)}.",
            )


def kind_of(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return "something else"
