"""Names of users, the form of tokens, and who may give what to whom. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from flowhq.admin.problems import forbidden
from flowhq.admin.scopes import ROLE_SCOPES, Principal, Role, Scope
from flowhq.errors import InvalidInputError
from flowhq.model import TenantId

# The user whose password stands in the settings, so that the first start has one.
BUILT_IN = "admin"
USER_PREFIX = "user:"
TOKEN_PREFIX = "fhq"  # noqa: S105 - the part that everybody may know

_USER_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,119}")
_TOKEN = re.compile(rf"{TOKEN_PREFIX}_([0-9a-f]{{32}})_([A-Za-z0-9_-]{{43}})")


def user_name(name: str) -> str:
    """The name as it is stored, in lower case; InvalidInputError if it cannot be one."""
    lower = name.strip().lower()
    if not is_user_name(lower):
        raise InvalidInputError(
            "must be a user name or an e-mail address: letters a to z, digits and . _ @ + -, "
            "120 at most.",
            field="",
        )
    return lower


def is_user_name(name: str) -> bool:
    """Whether it is one as they are stored."""
    return _USER_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class TokenParts:
    """``fhq_<id>_<secret>``, taken apart."""

    token_id: UUID
    secret: str = field(repr=False)


def token_text(token_id: UUID, secret: str) -> str:
    return f"{TOKEN_PREFIX}_{token_id.hex}_{secret}"


def parse_token(text: str) -> TokenParts | None:
    """None for what is no token of ours."""
    match = _TOKEN.fullmatch(text)
    return None if match is None else TokenParts(UUID(match[1]), match[2])


def of_user(name: str, role: Role) -> Principal:
    return Principal(f"{USER_PREFIX}{name}", ROLE_SCOPES[role])


def own_name(principal: Principal) -> str | None:
    """The user's name; None for a principal that is no user."""
    prefix, name = principal.name[: len(USER_PREFIX)], principal.name[len(USER_PREFIX) :]
    return name if prefix == USER_PREFIX else None


def require_reach(
    giver: Principal, scopes: Iterable[Scope], tenants: Iterable[TenantId] | None = None
) -> None:
    """ProblemError (403) unless the giver has all of this itself; tenants None are all of them."""
    missing = sorted(set(scopes) - giver.scopes)
    if missing:
        raise forbidden(f"Nobody can give what he does not have: {', '.join(missing)}.")
    if giver.tenants is None:
        return
    if tenants is None or not set(tenants) <= giver.tenants:
        raise forbidden("Nobody can give more tenants than he has.")
