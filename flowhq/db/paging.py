"""Places in a list, newest first: opaque to the client, checked when they come back."""

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from flowhq.errors import InvalidInputError

LIMIT_MAX = 1_000


@dataclass(slots=True)
class Clauses:
    """The conditions of a list, joined by AND, and their arguments from $``first`` on.

    A condition is a text of the program with a ``{}`` for each argument; what a client says only
    ever becomes an argument.
    """

    first: int
    conditions: list[str] = field(default_factory=list)
    arguments: list[object] = field(default_factory=list)

    def add(self, condition: str, *arguments: object) -> None:
        number = self.first + len(self.arguments)
        self.conditions.append(condition.format(*(f"${number + n}" for n in range(len(arguments)))))
        self.arguments.extend(arguments)

    def __str__(self) -> str:
        return " AND ".join(self.conditions)


def escape_like(text: str) -> str:
    """The text as a pattern of LIKE that stands for itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def place_of(at: datetime, row_id: UUID) -> str:
    """The place right after this row."""
    return base64.urlsafe_b64encode(f"{at.isoformat()}|{row_id}".encode()).decode().rstrip("=")


def read_place(place: str, *, field: str) -> tuple[datetime, UUID]:
    """The row that ``place_of`` was given; InvalidInputError for anything else."""
    try:
        padded = place + "=" * (-len(place) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        at_text, _, id_text = text.partition("|")
        at = datetime.fromisoformat(at_text)
        if at.tzinfo is None:
            raise ValueError("a place without a time zone")
        return at.astimezone(UTC), UUID(id_text)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise InvalidInputError(
            "This is not a place in the list.",
            field=field,
            next_step="Pass the value of next from the page before, or leave it out.",
        ) from error


def check_limit(limit: int) -> int:
    """The limit itself; InvalidInputError unless it is from 1 to 1,000."""
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidInputError(f"The limit must be from 1 to {LIMIT_MAX}.", field="limit")
    return limit
