"""Names, tokens and reach: what they look like, and that nobody gives what he does not have."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from flowhq.admin.cookies import csrf_of, digest, new_secret
from flowhq.admin.identities import (
    TokenParts,
    is_user_name,
    of_user,
    own_name,
    parse_token,
    require_reach,
    token_text,
    user_name,
)
from flowhq.admin.problems import ProblemError
from flowhq.admin.scopes import ROLE_SCOPES, Principal, Role, Scope
from flowhq.errors import InvalidInputError
from flowhq.model import TenantId

MINE, THEIRS = TenantId(uuid4()), TenantId(uuid4())


@pytest.mark.parametrize(
    ("given", "stored"),
    [("Asha", "asha"), (" Asha@Duka.example ", "asha@duka.example"), ("9-b_c+d", "9-b_c+d")],
)
def test_a_name_is_stored_in_lower_case(given: str, stored: str) -> None:
    assert user_name(given) == stored
    assert is_user_name(stored)


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "@a", "ä", "a" * 121, "a\0", "\uff41"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert not is_user_name(name)
    with pytest.raises(InvalidInputError):
        user_name(name)


def test_a_token_is_taken_apart_as_it_was_put_together() -> None:
    token_id, secret = uuid4(), new_secret()
    text = token_text(token_id, secret)
    assert parse_token(text) == TokenParts(token_id, secret)
    assert secret not in repr(parse_token(text))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "x",
        lambda text: text.upper(),
        lambda text: text.replace("fhq_", "xhq_"),
        lambda text: text.replace("fhq_", "fhq__"),
        lambda text: f" {text}",
        lambda text: f"{text}\n",
        lambda text: "",
    ],
)
def test_what_is_no_token_is_none(change: Callable[[str], str]) -> None:
    text = token_text(UUID(int=0xABC), "s" * 43)
    assert parse_token(change(text)) is None


def test_secrets_differ_and_only_their_sums_are_alike() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert digest(one) == digest(one) != digest(other)
    assert csrf_of(one) == csrf_of(one) != csrf_of(other)
    assert len(digest(one)) == 32


def test_each_role_has_all_of_the_one_before() -> None:
    viewer, operator, admin = (ROLE_SCOPES[role] for role in Role)
    assert viewer < operator < admin
    assert admin == frozenset(Scope) - {Scope.PORTAL}


def test_only_a_user_has_a_name_of_his_own() -> None:
    assert own_name(of_user("asha", Role.VIEWER)) == "asha"
    assert own_name(Principal("token:user:asha", frozenset())) is None


@pytest.mark.parametrize(
    ("has", "reach", "scopes", "tenants", "allowed"),
    [
        ({Scope.ADMIN}, None, {Scope.ADMIN}, None, True),
        ({Scope.ADMIN}, None, {Scope.ADMIN}, [MINE], True),
        ({Scope.ADMIN}, None, {Scope.TENANTS_READ}, None, False),
        ({Scope.ADMIN}, None, {Scope.ADMIN, Scope.TENANTS_READ}, None, False),
        ({Scope.ADMIN}, {MINE}, {Scope.ADMIN}, [MINE], True),
        ({Scope.ADMIN}, {MINE}, {Scope.ADMIN}, [MINE, THEIRS], False),
        ({Scope.ADMIN}, {MINE}, {Scope.ADMIN}, None, False),
    ],
)
def test_nobody_gives_what_he_does_not_have(
    has: set[Scope],
    reach: set[TenantId] | None,
    scopes: set[Scope],
    tenants: list[TenantId] | None,
    allowed: bool,
) -> None:
    giver = Principal("user:x", frozenset(has), None if reach is None else frozenset(reach))
    if allowed:
        require_reach(giver, scopes, tenants)
    else:
        with pytest.raises(ProblemError) as refused:
            require_reach(giver, scopes, tenants)
        assert refused.value.kind.name == "forbidden"
