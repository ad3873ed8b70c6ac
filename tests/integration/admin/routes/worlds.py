"""Two shops with a row behind every address, and everybody who could ask for them, for tests that
go through the whole table of routes (with the fixtures of conftest.py)."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flowhq.admin.auth import KnownUser
from flowhq.admin.cookies import COOKIE, CSRF_HEADER, csrf_of, digest, new_secret
from flowhq.admin.credentials import Credentials
from flowhq.admin.openid import Attempt
from flowhq.admin.portal_auth import KEY_HEADER, SESSION_COOKIE, USER_HEADER
from flowhq.admin.portal_signin import ATTEMPT_COOKIE, CALLBACK
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.scopes import ROLE_SCOPES, Role, Scope
from flowhq.db.adminsessions import NewSession
from flowhq.db.installation import load_installation
from flowhq.db.ledger import PostgresLedger
from flowhq.db.pool import Database
from flowhq.db.users import NewUser
from flowhq.model import (
    InboundMessage,
    InboxKey,
    InboxState,
    Jid,
    MessageId,
    MessageKind,
    Source,
    TenantId,
)
from flowhq.webhooks.feed import Feed
from tests.fakes.clock import until
from tests.fakes.issuer import Issuer
from tests.integration.admin.conftest import PASSWORD, Api

SCOPE = re.compile(r"Needs the scope `([a-z:]+)`")
# All that an admin may; what a token of some tenants may is limited by its tenants alone.
ALL = ROLE_SCOPES[Role.ADMIN]
CUSTOMER = "255711111111"
# Of no tenant, and of nothing else.
NOBODY = "5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a"
STREAM_MEDIA = "text/event-stream"


@dataclass(frozen=True)
class Operation:
    """One operation of the OpenAPI document. ``scope`` None: it is open to all."""

    method: str
    path: str
    name: str
    scope: Scope | None
    described: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_tenant(self) -> bool:
        return "{tenant_id}" in self.path

    @property
    def has_body(self) -> bool:
        return "requestBody" in self.described

    @property
    def of_portal(self) -> bool:
        return self.scope is Scope.PORTAL

    def names(self, place: str = "path") -> list[str]:
        """Of its parameters in the path, or in the query."""
        return [one["name"] for one in self.described["parameters"] if one["in"] == place]

    def at(self, ids: Mapping[str, str]) -> str:
        """The address with these ids in it; what has none is nobody's."""
        return re.sub(r"{(\w+)}", lambda match: ids.get(match[1], NOBODY), self.path)


def operations_of(document: Mapping[str, Any]) -> list[Operation]:
    """All of the document, in its order."""
    return [
        Operation(method.upper(), path, described["operationId"], _scope_of(described), described)
        for path, item in document["paths"].items()
        for method, described in item.items()
    ]


def _scope_of(described: Mapping[str, Any]) -> Scope | None:
    match = SCOPE.search(described["description"])
    assert (match is None) == (described["security"] == []), described["operationId"]
    return None if match is None else Scope(match[1])


@dataclass(frozen=True)
class Shop:
    """A business and its owner. ``word`` stands in everything that is its own: whoever must not see
    the shop must not see the word. ``ids`` are by their names in addresses."""

    word: str
    email: str
    tenant_id: str
    ids: Mapping[str, str]
    link: str
    """The token of its pairing link."""

    def ids_at(self, operation: Operation) -> Mapping[str, str]:
        """A message that was asked for has another id than one of the log."""
        if operation.path.startswith("/v1/"):
            return {**self.ids, "message": self.ids["sent"]}
        return self.ids


@dataclass(frozen=True)
class Caller:
    """Somebody who asks, with what he sends to be let in. ``home``: the only shop he reaches; None
    reaches all, or nothing."""

    name: str
    headers: Mapping[str, str] = field(repr=False)
    scopes: frozenset[Scope]
    home: Shop | None = None


@dataclass(frozen=True)
class Parts:
    """What a world is made with."""

    api: Api
    database: Database
    url: str
    feed: Feed
    portal: PortalStore
    credentials: Credentials
    issuer: Issuer
    password_hash: str


@dataclass(frozen=True)
class World:
    """``mine`` is the shop whose ids are tried, ``theirs`` its neighbour."""

    mine: Shop
    theirs: Shop
    callers: Mapping[str, Caller]
    attempt: Attempt
    """A sign-in that one browser has begun."""
    way_back: Mapping[str, str]
    """What the issuer adds to the address that it sends this browser back to."""
    common: Mapping[str, str]
    """The ids of what is no tenant's."""

    def ids_at(self, operation: Operation, shop: Shop) -> Mapping[str, str]:
        """A webhook is the shop's or the installation's."""
        if operation.has_tenant:
            return {**self.common, **shop.ids_at(operation)}
        return {**shop.ids_at(operation), **self.common}


class WorldMaker:
    """Makes worlds in one installation, each of a new pair of shops; what the one before holds of
    what there are only a few is given back."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._api = parts.api
        self._shops = 0

    async def world(self) -> World:
        await self._give_back()
        key = await self._create("/admin/portal-keys", name="portal")
        # Before the shops: what happens in them is told to it.
        webhook = await self._webhook("/admin/webhooks", "all")
        mine, theirs = [await self._shop(str(key["key"])) for _ in "12"]
        # So that there is an owner who may ask again.
        await self._reject(theirs.ids["setup_request"])
        user_id, session_id, session = await self._session()
        callers = await self._callers(str(key["key"]), session, mine, theirs)
        common = {
            "file": "docs.js",
            "user": user_id,
            "session": session_id,
            "portal_key": await self._retired_key(),
            "token": (await self._create("/admin/tokens", name="spare", scopes=["admin"]))["id"],
            "webhook": webhook["id"],
        }
        named = {caller.name: caller for caller in callers}
        attempt = Attempt(new_secret())
        return World(mine, theirs, named, attempt, self._way_back(attempt), common)

    async def _give_back(self) -> None:
        for key in (await self._api.call("GET", "/admin/portal-keys")).body["items"]:
            if key["retired_at"] is None:
                await self._api.call("POST", f"/admin/portal-keys/{key['id']}/retire")
        for webhook in (await self._api.call("GET", "/admin/webhooks")).body["items"]:
            await self._api.call("DELETE", f"/admin/webhooks/{webhook['id']}")

    async def _create(self, path: str, /, **body: Any) -> Any:
        answer = await self._api.call("POST", path, json=body)
        assert answer.status in (201, 202), answer.body
        return answer.body

    async def _webhook(self, path: str, word: str) -> Any:
        return await self._create(path, url=f"https://hooks.example.com/{word}")

    async def _reject(self, request: str) -> None:
        at = f"/admin/setup-requests/{request}/reject"
        assert (await self._api.call("POST", at, json={"reason": "Again"})).status == 200

    def _way_back(self, attempt: Attempt) -> dict[str, str]:
        """As if the issuer had been asked, and had let its user in."""
        code = secrets.token_urlsafe(16)
        self._parts.issuer.grants[code] = {
            "code_challenge": attempt.challenge,
            "nonce": attempt.nonce,
            "redirect_uri": f"{self._api.base}{CALLBACK}",
        }
        return {"code": code, "state": attempt.state, "iss": self._parts.issuer.url, "error": ""}

    async def _retired_key(self) -> str:
        """One that lives would take the place of the one that could be made."""
        made = await self._create("/admin/portal-keys", name="spare")
        await self._api.call("POST", f"/admin/portal-keys/{made['id']}/retire")
        return str(made["id"])

    # -- a shop ---------------------------------------------------------------------------------

    async def _shop(self, key: str) -> Shop:
        """Signed up by its owner over the portal, then with a row behind each address."""
        self._shops += 1
        word = f"siri{secrets.token_hex(6)}"
        email = f"{word}@example.com"
        headers = {KEY_HEADER: key, USER_HEADER: email}
        body = {"name": word, "business_name": word}
        signed = await self._api.anonymous("POST", "/portal/sign-in", json=body, headers=headers)
        assert signed.status == 201, signed.body
        tenant_id = str(signed.body["tenant"]["id"])
        request = {
            "template_type": "ECOMMERCE",
            "whatsapp_number": f"+25575300{self._shops:04}",
            "notes": word,
        }
        asked = await self._api.anonymous(
            "POST", "/portal/setup-request", json=request, headers=headers
        )
        assert asked.status == 201, asked.body
        at = f"/admin/tenants/{tenant_id}"
        number = {"phone_number": f"+25571300{self._shops:04}"}
        assert (await self._api.call("PATCH", at, json=number)).status == 200
        ids, link = await self._rows(at, TenantId(UUID(tenant_id)), word)
        ids |= {"tenant_id": tenant_id, "setup_request": asked.body["id"]}
        return Shop(word, email, tenant_id, ids, link)

    async def _rows(self, at: str, tenant_id: TenantId, word: str) -> tuple[dict[str, str], str]:
        """One behind each address below the tenant's."""
        webhook = await self._webhook(f"{at}/webhooks", word)
        message = await self._receive(tenant_id, word)
        while await self._parts.feed.step():
            pass
        told = await self._api.call("GET", f"{at}/webhooks/{webhook['id']}/deliveries")
        chats = await self._api.call("GET", f"{at}/chats")
        sent = await self._create(
            "/v1/messages", tenant_id=str(tenant_id), to=f"+{CUSTOMER}", text=word
        )
        link = await self._create(f"{at}/pairing-links")
        run = await self._create("/admin/bulk", verb="stop", tenants=[str(tenant_id)])
        await self._ended(run["id"])
        ids = {
            "webhook": webhook["id"],
            "event": told.body["items"][0]["id"],
            "message": message,
            "chat": chats.body["items"][0]["id"],
            "sent": sent["id"],
            "pairing_link": link["id"],
            "run": run["id"],
        }
        return ids, link["url"].partition("#")[2]

    async def _receive(self, tenant_id: TenantId, word: str) -> str:
        """A customer's message, recorded, tried and given up; its id."""
        key = (await load_installation(self._parts.url)).tenant_key(tenant_id)
        message = InboundMessage(
            message_id=MessageId(f"3EB0{secrets.token_hex(6).upper()}"),
            chat=Jid(f"{CUSTOMER}@c.us"),
            from_me=False,
            kind=MessageKind.TEXT,
            text=f"Habari {word}",
            at=datetime.now(UTC),
            source=Source.LIVE,
            sender=Jid(f"{CUSTOMER}@c.us"),
            phone=CUSTOMER,
        )
        ledger = PostgresLedger(self._parts.database, tenant_id, key)
        await ledger.record(message, state=InboxState.NEW)
        inbox_key = InboxKey(from_me=False, message_id=message.message_id)
        while await ledger.postpone(inbox_key, error="KeyError") is not None:
            pass
        return str(message.message_id)

    async def _ended(self, run: str) -> None:
        """Waits until the run has touched whom it touches."""

        async def over() -> bool:
            answer = await self._api.call("GET", f"/admin/bulk/{run}")
            return bool(answer.body["state"] == "ended")

        await until(over)

    # -- who asks -------------------------------------------------------------------------------

    async def _callers(
        self, key: str, session: Mapping[str, str], mine: Shop, theirs: Shop
    ) -> list[Caller]:
        roles = [
            Caller(role.value, await self._token(ROLE_SCOPES[role]), ROLE_SCOPES[role])
            for role in Role
        ]
        limited = [
            Caller(name, await self._token(ALL, shop), ALL, shop)
            for name, shop in (("limited", mine), ("stranger", theirs))
        ]
        portal = frozenset({Scope.PORTAL})
        owners = [
            Caller(name, {KEY_HEADER: key, USER_HEADER: shop.email}, portal, shop)
            for name, shop in (("owner", mine), ("neighbour", theirs))
        ]
        browser = Caller("browser", session, ALL)
        signed_in = Caller("owner's browser", await self._portal_session(mine), portal, mine)
        nobody = Caller("nobody", {}, frozenset())
        return [nobody, *roles, browser, *limited, *owners, signed_in]

    async def _token(self, scopes: frozenset[Scope], shop: Shop | None = None) -> dict[str, str]:
        tenants = None if shop is None else [shop.tenant_id]
        body = {"name": "a test", "scopes": sorted(scopes), "tenants": tenants}
        made = await self._create("/admin/tokens", **body)
        return {"Authorization": f"Bearer {made['token']}"}

    async def _session(self) -> tuple[str, str, dict[str, str]]:
        """An admin of flesh and blood with PASSWORD: the ids of the user and of a spare session,
        and what the browser sends in another."""
        name, mark = f"asha.{secrets.token_hex(4)}", self._parts.password_hash
        new = NewUser(name, mark, Role.ADMIN.value, "test")
        user = await self._parts.credentials.create_user(new)
        spare_id, _ = await self._begin(name)
        _, secret = await self._begin(name)
        return str(user.user_id), spare_id, _cookie(COOKIE, secret)

    async def _begin(self, name: str) -> tuple[str, str]:
        """A session of this user: its id and its secret."""
        secret = new_secret()
        known = KnownUser(name, Role.ADMIN, self._parts.password_hash)
        new = NewSession(digest(secret), name, known.mark, "127.0.0.1", "a test")
        session = await self._parts.credentials.begin_session(new, instead_of=None)
        return str(session.session_id), secret

    async def _portal_session(self, shop: Shop) -> dict[str, str]:
        user = await self._parts.portal.find_user(shop.email)
        assert user is not None
        return _cookie(SESSION_COOKIE, await self._parts.portal.begin_session(user))


def _cookie(name: str, secret: str) -> dict[str, str]:
    """What a page of ours sends in a browser that is signed in."""
    return {"Cookie": f"{name}={secret}", CSRF_HEADER: csrf_of(secret)}


def known_body(operation: Operation, world: World) -> dict[str, Any]:
    """What fits of the shop, or at all, into the body's fields, by name."""
    shop = world.mine
    of_contact = operation.path.endswith("/contacts/erase")
    number = f"+25571{secrets.randbelow(10**7):07}"
    known: dict[str, Any] = {
        "confirm": CUSTOMER if of_contact else shop.word,
        "current_password": PASSWORD,
        "details": {},
        "hours_json": None,
        "number": CUSTOMER,
        "password": PASSWORD,
        "phone_number": number,
        "tenant_id": shop.tenant_id,
        "tenants": [shop.tenant_id],
        "timezone": "Africa/Dar_es_Salaam",
        "to": f"+{CUSTOMER}",
        "token": shop.link,
        "url": "https://hooks.example.com/made-up",
        "user": "admin",
        "whatsapp_number": number,
    }
    # Who is changed keeps the name by which the shop is known.
    return known | ({"name": f"duka.{number[5:]}"} if operation.method == "POST" else {})


def known_query(operation: Operation, world: World) -> Mapping[str, str]:
    """The same for the query."""
    if operation.name == "portal_oidc_callback":
        return world.way_back
    return {"tenant": world.mine.tenant_id}


def known_headers(operation: Operation, world: World) -> dict[str, str]:
    """What a browser brings where a credential is not asked for."""
    if operation.name == "portal_oidc_callback":
        return {"Cookie": f"{ATTEMPT_COOKIE}={world.attempt.secret}"}
    return {}
