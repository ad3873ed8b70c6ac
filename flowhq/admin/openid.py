"""Sign-in by OpenID Connect: the authorization code flow with PKCE, at one issuer.

What the issuer says is believed only out of an ID token whose signature, issuer, audience, times
and nonce are right, and only an address that it says is verified. Discovery and keys are kept for
an hour. What does not belong here: cookies, sessions, whose the address is.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import orjson
from cachetools import TTLCache
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from flowhq.admin.portal_auth import parse_email
from flowhq.admin.problems import (
    ISSUER_UNAVAILABLE,
    NOT_FOUND,
    SIGN_IN_FAILED,
    ProblemError,
)
from flowhq.clock import Clock
from flowhq.config import PortalSettings, is_loopback
from flowhq.egress.client import Answer, Request
from flowhq.errors import EgressFailedError, EgressRefusedError

SCOPE = "openid email profile"
DISCOVERY = "/.well-known/openid-configuration"
# Only signatures of which the issuer alone has the key: no secret shared with us, and no "none".
ALGORITHMS = ("RS256", "PS256", "ES256")
KEPT_S = 3600
# A key that is not known is looked for anew, but not for every token that somebody makes up.
KEYS_AGAIN_S = 60
# What clocks may differ by.
LEEWAY_S = 60
# A sign-in takes seconds at the issuer; an ID token older than this was not made for it.
TOKEN_AGE_MAX_S = 600
ANSWER_MAX_BYTES = 256 * 1024
NAME_MAX = 120
HTTP_OK = 200


class Sender(Protocol):
    """The guarded way out (flowhq.egress)."""

    async def send(self, request: Request) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in under way: everything follows from one secret that only the browser keeps."""

    secret: str = field(repr=False)

    @property
    def state(self) -> str:
        return self._derived(b"state")

    @property
    def nonce(self) -> str:
        return self._derived(b"nonce")

    @property
    def verifier(self) -> str:
        return self._derived(b"verifier")

    @property
    def challenge(self) -> str:
        """PKCE S256 (RFC 7636, 4.2)."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def is_state(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.state.encode())

    def _derived(self, use: bytes) -> str:
        return hmac.digest(self.secret.encode("utf-8", "surrogateescape"), use, "sha256").hex()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in: an address that the issuer has verified, in lower case, and a name."""

    email: str = field(repr=False)
    name: str = field(repr=False)


class OpenIdClient:
    """One for the daemon. Every call may raise ProblemError: 404 while no issuer is set up, 502 if
    the issuer cannot be used, 403 if what comes from it or the browser is not right."""

    def __init__(self, settings: PortalSettings, sender: Sender, clock: Clock) -> None:
        self._settings = settings
        self._sender = sender
        self._clock = clock
        self._kept: TTLCache[str, Any] = TTLCache(2, KEPT_S, timer=clock.monotonic)
        self._keys_read_s = float("-inf")
        self._reading = asyncio.Lock()

    async def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """Where the browser is to be sent."""
        issuer = await self._issuer()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": SCOPE,
                "state": attempt.state,
                "nonce": attempt.nonce,
                "code_challenge": attempt.challenge,
                "code_challenge_method": "S256",
                "prompt": "select_account",
            },
            quote_via=quote,
        )
        endpoint = str(issuer["authorization_endpoint"])
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    async def identity(self, attempt: Attempt, code: str, redirect_uri: str) -> Identity:
        """Who the issuer says it is, in exchange for the code that the browser brought."""
        issuer = await self._issuer()
        token = await self._exchange(issuer, attempt, code, redirect_uri)
        claims = await self._verified(token)
        self._check(claims, attempt)
        email = parse_email(str(claims.get("email", "")))
        if email is None or claims.get("email_verified") is not True:
            raise failed("The issuer has no verified e-mail address for you.")
        name = claims.get("name")
        name = " ".join(name.split())[:NAME_MAX] if isinstance(name, str) else ""
        return Identity(email, name)

    def expects(self, issuer: str) -> bool:
        """Whether an answer that says it comes from this issuer can be for us (RFC 9207)."""
        return issuer == self._settings.issuer

    # -- the issuer -------------------------------------------------------------------------------

    async def _issuer(self) -> Mapping[str, Any]:
        if not self._settings.client_id:
            raise ProblemError(
                NOT_FOUND,
                "Sign-in by OpenID Connect is not set up here.",
                next_step="Set [portal] client_id and issuer.",
            )
        async with self._reading:
            if "discovery" not in self._kept:
                document = await self._read(self._settings.issuer.rstrip("/") + DISCOVERY)
                self._check_discovery(document)
                self._kept["discovery"] = document
            kept: Mapping[str, Any] = self._kept["discovery"]
            return kept

    def _check_discovery(self, document: Mapping[str, Any]) -> None:
        if document.get("issuer") != self._settings.issuer:
            raise unavailable("The issuer's own name is another one.")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            parts = urlsplit(str(document.get(name, "")))
            local = parts.scheme == "http" and is_loopback(parts.hostname or "")
            if not (parts.hostname and (parts.scheme == "https" or local)):
                raise unavailable(f"The issuer's {name} is no address that can be used.")

    async def _keys(self, *, anew: bool) -> KeySet:
        issuer = await self._issuer()
        async with self._reading:
            now_s = self._clock.monotonic()
            if "keys" not in self._kept or (anew and now_s - self._keys_read_s >= KEYS_AGAIN_S):
                document = await self._read(str(issuer["jwks_uri"]))
                self._kept["keys"] = _key_set(document)
                self._keys_read_s = now_s
            kept: KeySet = self._kept["keys"]
            return kept

    async def _read(self, url: str) -> Mapping[str, Any]:
        request = Request("GET", url, {"Accept": "application/json"}, max_bytes=ANSWER_MAX_BYTES)
        answer = await self._send(request)
        if answer.status != HTTP_OK:
            raise unavailable(f"The issuer answered {answer.status}.")
        return _json(answer)

    async def _send(self, request: Request) -> Answer:
        try:
            return await self._sender.send(request)
        except (EgressFailedError, EgressRefusedError) as error:
            raise unavailable(error.message) from error

    # -- the token --------------------------------------------------------------------------------

    async def _exchange(
        self, issuer: Mapping[str, Any], attempt: Attempt, code: str, redirect_uri: str
    ) -> str:
        """The ID token for the code (RFC 6749, 4.1.3)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._settings.client_id,
            "code_verifier": attempt.verifier,
        }
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        secret = self._settings.client_secret.get_secret_value()
        methods = issuer.get("token_endpoint_auth_methods_supported")
        if secret and isinstance(methods, list) and "client_secret_post" in methods:
            form["client_secret"] = secret
        elif secret:
            headers["Authorization"] = _basic(self._settings.client_id, secret)
        body = urlencode(form).encode()
        # No redirect: what is sent here is for this endpoint alone.
        request = Request(
            "POST",
            str(issuer["token_endpoint"]),
            headers,
            body,
            redirects=0,
            max_bytes=ANSWER_MAX_BYTES,
        )
        answer = await self._send(request)
        if 400 <= answer.status < 500:
            raise failed("The issuer does not take the code.")
        if answer.status != HTTP_OK:
            raise unavailable(f"The issuer answered {answer.status}.")
        token = _json(answer).get("id_token")
        if not isinstance(token, str):
            raise unavailable("The issuer sent no ID token.")
        return token

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that one of the issuer's keys signed."""
        try:
            try:
                keys = await self._keys(anew=False)
                return jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            except InvalidKeyIdError:
                keys = await self._keys(anew=True)
                return jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError) as error:
            raise failed("The ID token is not signed by the issuer.") from error

    def _check(self, claims: Mapping[str, Any], attempt: Attempt) -> None:
        """Issuer, audience, times and nonce (OpenID Connect Core, 3.1.3.7)."""
        now = int(self._clock.now().timestamp())
        client_id = self._settings.client_id
        registry = jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            registry.validate(dict(claims))
        except JoseError as error:
            raise failed("The ID token is not for this sign-in.") from error
        nonce = str(claims.get("nonce", "")).encode("utf-8", "surrogateescape")
        others = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        party = claims.get("azp", "" if others else client_id)
        old = now - claims["iat"] > TOKEN_AGE_MAX_S + LEEWAY_S
        if old or party != client_id or not hmac.compare_digest(nonce, attempt.nonce.encode()):
            raise failed("The ID token is not for this sign-in.")


def failed(detail: str) -> ProblemError:
    return ProblemError(SIGN_IN_FAILED, detail, next_step="Sign in again.")


def unavailable(detail: str) -> ProblemError:
    return ProblemError(ISSUER_UNAVAILABLE, detail, next_step="Try again soon.")


def _json(answer: Answer) -> Mapping[str, Any]:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise unavailable("The issuer's answer is not JSON.") from error
    if not isinstance(document, dict):
        raise unavailable("The issuer's answer is not a JSON object.")
    return document


def _key_set(document: Mapping[str, Any]) -> KeySet:
    try:
        return KeySet.import_key_set({"keys": list(document["keys"])})
    except (JoseError, KeyError, TypeError, ValueError) as error:
        raise unavailable("The issuer's keys cannot be read.") from error


def _basic(client_id: str, secret: str) -> str:
    """Client authentication in the header (RFC 6749, 2.3.1)."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
