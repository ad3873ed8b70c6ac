"""What is kept of an issuer and for how long, and how an attempt's secrets follow from one."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from flowhq.admin.openid import Attempt, OpenIdClient
from flowhq.admin.problems import ProblemError
from flowhq.config import PortalSettings
from flowhq.egress.client import Answer, Request
from flowhq.errors import EgressFailedError
from tests.fakes.clock import FakeClock

ISSUER = "https://issuer.example.com"
BACK = "https://bots.example.com/portal/oidc/callback"
ATTEMPT = Attempt("a" * 43)


class FakeIssuer:
    """Answers as an issuer does, and writes down what it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.keys = [new_key("one")]
        self.asked: list[Request] = []
        self.methods: list[str] | None = None
        self.broken = False

    async def send(self, request: Request) -> Answer:
        self.asked.append(request)
        if self.broken:
            raise EgressFailedError("No answer in time.")
        match request.url.removeprefix(ISSUER):
            case "/.well-known/openid-configuration":
                return answer(self._configuration())
            case "/keys":
                return answer({"keys": [key.as_dict(private=False) for key in self.keys]})
            case "/token":
                return answer({"id_token": self._token()})
            case other:
                raise AssertionError(other)

    def count(self, path: str) -> int:
        return sum(request.url == f"{ISSUER}{path}" for request in self.asked)

    def _configuration(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
        }
        if self.methods is not None:
            document["token_endpoint_auth_methods_supported"] = self.methods
        return document

    def _token(self) -> str:
        now = int(self._clock.now().timestamp())
        key = self.keys[-1]
        claims = {
            "iss": ISSUER,
            "aud": "us",
            "sub": "1",
            "iat": now,
            "exp": now + 300,
            "nonce": ATTEMPT.nonce,
            "email": "asha@example.com",
            "email_verified": True,
            "name": "Asha \n Juma",
        }
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key, algorithms=["RS256"])


def new_key(key_id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig", "alg": "RS256"})


def answer(document: Any, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(document).encode())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def issuer(clock: FakeClock) -> FakeIssuer:
    return FakeIssuer(clock)


@pytest.fixture
def client(issuer: FakeIssuer, clock: FakeClock) -> OpenIdClient:
    settings = PortalSettings(issuer=ISSUER, client_id="us", client_secret=SecretStr("p&w /secret"))
    return OpenIdClient(settings, issuer, clock)


def test_everything_follows_from_the_browsers_secret_and_tells_nothing_of_it() -> None:
    again, other = Attempt("a" * 43), Attempt("b" * 43)
    assert (again.state, again.nonce, again.verifier) == (
        ATTEMPT.state,
        ATTEMPT.nonce,
        ATTEMPT.verifier,
    )
    derived = {ATTEMPT.state, ATTEMPT.nonce, ATTEMPT.verifier}
    assert len(derived | {other.state, other.nonce, other.verifier}) == 6
    # RFC 7636, 4.1: 43 to 128 characters.
    assert 43 <= len(ATTEMPT.verifier) <= 128
    digest = hashlib.sha256(ATTEMPT.verifier.encode()).digest()
    assert ATTEMPT.challenge == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert ATTEMPT.is_state(ATTEMPT.state)
    assert not ATTEMPT.is_state(other.state)
    assert not ATTEMPT.is_state("")
    assert "a" * 43 not in repr(ATTEMPT)


async def test_the_address_keeps_what_the_issuer_put_into_it(client: OpenIdClient) -> None:
    query = parse_qs(urlsplit(await client.address(ATTEMPT, BACK)).query)
    assert (query["tenant"], query["client_id"], query["redirect_uri"]) == (["1"], ["us"], [BACK])
    assert query["code_challenge"] == [ATTEMPT.challenge]


async def test_an_identity_has_a_name_on_one_line(client: OpenIdClient) -> None:
    who = await client.identity(ATTEMPT, "code", BACK)
    assert (who.email, who.name) == ("asha@example.com", "Asha Juma")
    assert "asha" not in repr(who).lower()


async def test_discovery_and_keys_are_kept_for_an_hour(
    client: OpenIdClient, issuer: FakeIssuer, clock: FakeClock
) -> None:
    for _ in range(3):
        await client.identity(ATTEMPT, "code", BACK)
    assert (issuer.count("/.well-known/openid-configuration"), issuer.count("/keys")) == (1, 1)
    await clock.advance(3601)
    await client.identity(ATTEMPT, "code", BACK)
    assert (issuer.count("/.well-known/openid-configuration"), issuer.count("/keys")) == (2, 2)


async def test_a_new_key_is_found_but_not_looked_for_more_than_once_a_minute(
    client: OpenIdClient, issuer: FakeIssuer, clock: FakeClock
) -> None:
    await client.identity(ATTEMPT, "code", BACK)
    issuer.keys.append(new_key("two"))
    for _ in range(3):
        with pytest.raises(ProblemError):
            await client.identity(ATTEMPT, "code", BACK)
    assert issuer.count("/keys") == 1
    await clock.advance(61)
    assert (await client.identity(ATTEMPT, "code", BACK)).email == "asha@example.com"
    assert issuer.count("/keys") == 2


async def test_a_failed_discovery_is_not_kept(client: OpenIdClient, issuer: FakeIssuer) -> None:
    issuer.broken = True
    with pytest.raises(ProblemError) as told:
        await client.address(ATTEMPT, BACK)
    assert told.value.kind.status == 502
    issuer.broken = False
    await client.address(ATTEMPT, BACK)


@pytest.mark.parametrize(
    ("methods", "in_body"),
    [
        (None, False),
        (["client_secret_basic"], False),
        (["client_secret_basic", "client_secret_post"], True),
    ],
)
async def test_the_clients_secret_goes_where_the_issuer_takes_it(
    client: OpenIdClient, issuer: FakeIssuer, methods: list[str] | None, in_body: bool
) -> None:
    issuer.methods = methods
    await client.identity(ATTEMPT, "code", BACK)
    (request,) = [one for one in issuer.asked if one.url.endswith("/token")]
    form = parse_qs((request.body or b"").decode())
    assert form["code_verifier"] == [ATTEMPT.verifier]
    assert ("client_secret" in form) is in_body
    assert ("Authorization" in request.headers) is not in_body
    if not in_body:
        pair = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
        assert pair == b"us:p%26w%20%2Fsecret"
    assert request.redirects == 0


async def test_without_a_client_nobody_is_asked(issuer: FakeIssuer, clock: FakeClock) -> None:
    client = OpenIdClient(PortalSettings(issuer=ISSUER), issuer, clock)
    with pytest.raises(ProblemError) as told:
        await client.address(ATTEMPT, BACK)
    assert told.value.kind.status == 404
    assert issuer.asked == []
