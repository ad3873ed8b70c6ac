"""The whole table of routes against every credential: none reaches further than it should.

The matrix is made from the OpenAPI document, so that a route added later is in it by itself: it is
open, the portal's, a tenant's, of all tenants, or one that looks at its caller itself. The lists of
the first and the last are closed.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from flowhq.admin.app import ROUTES
from flowhq.admin.credentials import Credentials
from flowhq.admin.openapi import document
from flowhq.admin.portal_auth import KEY_HEADER
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.scopes import ROLE_SCOPES, Role
from flowhq.db.pool import Database
from flowhq.webhooks.feed import Feed
from tests.fakes.admin import FakeFleet
from tests.fakes.issuer import Issuer
from tests.integration.admin.conftest import Answer, Api
from tests.integration.admin.routes.worlds import (
    ALL,
    CUSTOMER,
    NOBODY,
    STREAM_MEDIA,
    Operation,
    Parts,
    Shop,
    World,
    WorldMaker,
    operations_of,
)

# For whoever comes: a sign of life, the ways in, and the page behind a pairing link.
OPEN = {
    "health",
    "health_live",
    "health_ready",
    "log_in",
    "pair_code",
    "pair_page",
    "pair_renew",
    "pair_script",
    "pair_style",
    "portal_oidc_callback",
    "portal_oidc_start",
    "signed_in_page",
    "signed_in_script",
}
# Without a tenant in the path, and not of all tenants: they look at their caller themselves.
OWN_REACH = {
    "approve_setup_request",
    "begin_bulk",
    "change_password",
    "docs",
    "docs_file",
    "end_admin_session",
    "get_bulk",
    "get_message",
    "get_setup_request",
    "list_admin_sessions",
    "list_setup_requests",
    "list_tenants",
    "log_out",
    "openapi",
    "reject_setup_request",
    "review_setup_request",
    "send_message",
    "stream_events",
    "who_am_i",
}
# Of those, what has an id in its address that is of a tenant, or of a person.
OWN_IDS = {
    "approve_setup_request",
    "end_admin_session",
    "get_bulk",
    "get_message",
    "get_setup_request",
    "reject_setup_request",
    "review_setup_request",
}
# What bodies must at least hold to be looked at.
BODIES: dict[str, dict[str, Any]] = {
    "reject_setup_request": {"reason": "x"},
    "replay_webhook_of_tenant": {"since": "2026-01-01T00:00:00Z"},
}
# Nothing of a stream but its beginning is read.
STREAM_BYTES = 1_024
READ_LIMIT_S = 30


@dataclass(frozen=True)
class Matrix:
    """Every operation, two shops, and what everybody sends who could ask."""

    api: Api
    operations: list[Operation]
    world: World

    async def try_it(
        self,
        operation: Operation,
        ids: dict[str, str],
        headers: dict[str, str],
        query: dict[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """The operation at these ids, with these headers alone; of a stream, its beginning."""
        body = BODIES.get(operation.name, {}) | more
        async with (
            asyncio.timeout(READ_LIMIT_S),
            self.api.session.request(
                operation.method,
                self.api.base + operation.at(ids),
                json=body if operation.has_body else None,
                params=query,
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            if response.content_type == STREAM_MEDIA:
                raw = await response.content.read(STREAM_BYTES)
                response.close()
                return Answer(response.status, response.headers, raw, None)
            raw = await response.read()
            is_json = response.content_type.endswith(("/json", "+json"))
            told = await response.json(content_type=None) if raw and is_json else None
            return Answer(response.status, response.headers, raw, told)

    def ids(self, operation: Operation, shop: Shop) -> dict[str, str]:
        return dict(self.world.ids_at(operation, shop))

    def sent_by(self, name: str) -> dict[str, str]:
        return dict(self.world.callers[name].headers)


@pytest.fixture
async def matrix(
    api: Api,
    database: Database,
    postgres_url: str,
    feed: Feed,
    portal: PortalStore,
    credentials: Credentials,
    issuer: Issuer,
    password_hash: str,
) -> Matrix:
    described = (await api.call("GET", "/openapi.json")).body
    parts = Parts(api, database, postgres_url, feed, portal, credentials, issuer, password_hash)
    return Matrix(api, operations_of(described), await WorldMaker(parts).world())


# -- every operation is in the matrix --------------------------------------------------------------


def test_what_is_open_to_all_is_known() -> None:
    assert {route.name for route in ROUTES if route.public} == OPEN


def test_every_route_that_looks_at_its_caller_itself_is_known() -> None:
    """Whoever adds one adds its test of what it shows to a credential for some tenants."""
    own = {route.name for route in ROUTES if not route.fleet_wide and route.needs in ALL}
    assert own == OWN_REACH
    operations = operations_of(document(ROUTES, "test"))
    with_ids = {one.name for one in operations if one.name in own and one.names()}
    assert with_ids - {"docs_file"} == OWN_IDS


# -- without the right credential ------------------------------------------------------------------


async def test_nobody_gets_in_without_a_credential(matrix: Matrix, fleet: FakeFleet) -> None:
    before = list(fleet.calls)
    for operation in matrix.operations:
        if operation.scope is not None:
            answer = await matrix.try_it(operation, matrix.ids(operation, matrix.world.mine), {})
            assert (operation.label, answer.status) == (operation.label, 401)
            assert answer.kind == "unauthorized"
    assert fleet.calls == before


@pytest.mark.parametrize("name", ["viewer", "operator", "admin", "browser", "limited"])
async def test_a_credential_of_the_api_is_none_of_the_portal(matrix: Matrix, name: str) -> None:
    tried = 0
    for operation in matrix.operations:
        if operation.of_portal:
            answer = await matrix.try_it(operation, {}, matrix.sent_by(name))
            assert (operation.label, answer.status) == (operation.label, 401)
            tried += 1
    assert tried >= 9


@pytest.mark.parametrize("name", ["owner", "owner's browser"])
async def test_a_credential_of_the_portal_is_none_of_the_api(
    matrix: Matrix, fleet: FakeFleet, name: str
) -> None:
    sent = matrix.sent_by(name)
    key = sent.get(KEY_HEADER, "")
    before = list(fleet.calls)
    for operation in matrix.operations:
        if operation.scope in ALL:
            ids = matrix.ids(operation, matrix.world.mine)
            for headers in (sent, sent | {"Authorization": f"Bearer {key}"}):
                answer = await matrix.try_it(operation, ids, headers)
                assert (operation.label, answer.status) == (operation.label, 401)
    assert fleet.calls == before


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_does_what_its_scopes_allow_and_nothing_else(
    matrix: Matrix, fleet: FakeFleet, role: Role
) -> None:
    before = list(fleet.calls)
    refused = 0
    for operation in matrix.operations:
        if operation.scope not in ALL - ROLE_SCOPES[role]:
            continue
        ids = matrix.ids(operation, matrix.world.mine)
        answer = await matrix.try_it(operation, ids, matrix.sent_by(role.value))
        assert (operation.label, answer.status) == (operation.label, 403)
        assert answer.kind == "forbidden"
        refused += 1
    assert fleet.calls == before
    assert (refused > 0) is (role is not Role.ADMIN)


# -- another's tenant ------------------------------------------------------------------------------


async def test_another_tenants_ids_are_those_of_nobody(matrix: Matrix, fleet: FakeFleet) -> None:
    sent, theirs = matrix.sent_by("limited"), matrix.world.theirs
    before = list(fleet.calls)
    tried = 0
    for operation in matrix.operations:
        if operation.has_tenant or operation.name in OWN_IDS:
            answer = await matrix.try_it(operation, matrix.ids(operation, theirs), sent)
            nobodys = await matrix.try_it(operation, {}, sent)
            assert (operation.label, answer.status) == (operation.label, 404)
            assert nobodys.status == 404
            words = answer.body["detail"]
            for each in matrix.ids(operation, theirs).values():
                words = words.replace(each, NOBODY)
            assert words == nobodys.body["detail"], operation.label
            tried += 1
    assert tried >= 40
    assert fleet.calls == before


async def test_what_is_anothers_is_not_found_under_ones_own_tenant(
    matrix: Matrix, fleet: FakeFleet
) -> None:
    mine, theirs = matrix.world.mine, matrix.world.theirs
    before = list(fleet.calls)
    tried = 0
    for operation in matrix.operations:
        if not operation.has_tenant or operation.names() == ["tenant_id"]:
            continue
        mixed = matrix.ids(operation, theirs) | {"tenant_id": mine.tenant_id}
        answer = await matrix.try_it(operation, mixed, matrix.sent_by("limited"))
        assert (operation.label, answer.status) == (operation.label, 404)
        tried += 1
    assert tried >= 12
    assert fleet.calls == before


async def test_an_answer_about_all_tenants_is_not_for_a_credential_of_some(
    matrix: Matrix,
) -> None:
    tried = 0
    for operation in matrix.operations:
        if operation.has_tenant or operation.scope not in ALL or operation.name in OWN_REACH:
            continue
        ids = matrix.ids(operation, matrix.world.theirs)
        answer = await matrix.try_it(operation, ids, matrix.sent_by("limited"))
        assert (operation.label, answer.status) == (operation.label, 403)
        tried += 1
    assert tried >= 25


async def test_what_looks_at_its_caller_itself_tells_nothing_of_another_tenant(
    matrix: Matrix, fleet: FakeFleet
) -> None:
    theirs, sent = matrix.world.theirs, matrix.sent_by("limited")
    before = list(fleet.calls)
    bodies: dict[str, dict[str, Any]] = {
        "begin_bulk": {"verb": "stop", "tenants": [theirs.tenant_id]},
        "send_message": {"tenant_id": theirs.tenant_id, "to": f"+{CUSTOMER}", "text": "Habari"},
    }
    for operation in matrix.operations:
        if operation.name not in OWN_REACH or operation.method == "DELETE":
            continue
        body, ids = bodies.get(operation.name, {}), matrix.ids(operation, theirs)
        answers = [await matrix.try_it(operation, ids, sent, None, **body)]
        if "tenant" in operation.names("query"):
            query = {"tenant": theirs.tenant_id}
            answers.append(await matrix.try_it(operation, ids, sent, query))
            assert answers[1].status == 404, operation.label
        if body:
            assert answers[0].status in (400, 404), operation.label
        for answer in answers:
            assert theirs.word.encode() not in answer.raw, operation.label
    assert fleet.calls == before


async def test_a_credential_of_some_tenants_lists_and_moves_those_alone(
    matrix: Matrix, fleet: FakeFleet
) -> None:
    mine, theirs = matrix.world.mine, matrix.world.theirs
    sent = matrix.sent_by("limited")
    api = matrix.api
    listed = await api.call("GET", "/admin/tenants", headers=sent)
    assert [tenant["id"] for tenant in listed.body["items"]] == [mine.tenant_id]
    foreign = await api.call("GET", f"/admin/tenants?q={theirs.word}", headers=sent)
    assert foreign.body["items"] == []
    asked = await api.call("GET", "/admin/setup-requests", headers=sent)
    assert [one["tenant_id"] for one in asked.body["items"]] == [mine.tenant_id]
    before = list(fleet.calls)
    for chosen in ([theirs.tenant_id], [mine.tenant_id, theirs.tenant_id]):
        order = {"verb": "stop", "tenants": chosen}
        refused = await api.call("POST", "/admin/bulk", json=order, headers=sent)
        assert (refused.status, refused.fields) == (400, ["tenants"])
    assert fleet.calls == before
    everything: dict[str, Any] = {"verb": "stop", "filter": {}}
    run = await api.call("POST", "/admin/bulk", json=everything, headers=sent)
    assert [item["tenant_id"] for item in run.body["items"]] == [mine.tenant_id]
    own = await api.call("GET", f"/admin/bulk/{run.body['id']}", headers=sent)
    assert own.status == 200


# -- another's portal ------------------------------------------------------------------------------


async def test_an_owner_sees_and_changes_nothing_of_another(
    matrix: Matrix, fleet: FakeFleet
) -> None:
    """The portal takes no id from outside, whoever's it is and wherever it stands."""
    mine, theirs = matrix.world.mine, matrix.world.theirs
    before = await _seen(matrix, theirs)
    calls = list(fleet.calls)
    sent = matrix.sent_by("owner")
    foreign = {"tenant_id": theirs.tenant_id, "user_email": theirs.email}
    browser = matrix.sent_by("owner's browser")
    tried = 0
    for operation in matrix.operations:
        if not operation.of_portal:
            continue
        plain = await matrix.try_it(operation, {}, sent)
        assert theirs.word.encode() not in plain.raw, operation.label
        by_query = await matrix.try_it(operation, {}, sent, foreign)
        assert (operation.label, by_query.status) == (operation.label, 400)
        assert set(by_query.fields) >= set(foreign)
        if operation.has_body:
            by_body = await matrix.try_it(operation, {}, sent, None, **foreign)
            assert (operation.label, by_body.status) == (operation.label, 400)
            assert set(by_body.fields) >= set(foreign)
        # A session's cookie beside a key: the key is asked, whoever the cookie is of.
        both = await matrix.try_it(operation, {}, browser | matrix.sent_by("neighbour"))
        assert mine.word.encode() not in both.raw, operation.label
        tried += 1
    assert tried >= 9
    assert await _seen(matrix, theirs) == before
    assert fleet.calls == calls


async def _seen(matrix: Matrix, shop: Shop) -> list[Any]:
    """What its owner and an admin see of a shop."""
    paths = ["", "/logs", "/chats", "/webhooks", "/pairing-links"]
    seen = [
        (await matrix.api.call("GET", f"/admin/tenants/{shop.tenant_id}{path}")).body
        for path in paths
    ]
    me = await matrix.api.anonymous("GET", "/portal/me", headers=matrix.sent_by("neighbour"))
    assert me.body["user"]["email"] == shop.email
    return [*seen, me.body]


# -- the matrix shows something --------------------------------------------------------------------


async def test_what_was_refused_is_open_to_whoever_may(matrix: Matrix) -> None:
    """With the right credential, no such request is refused for its reach."""
    mine = matrix.world.mine
    for operation in matrix.operations:
        if operation.scope is None or operation.method == "DELETE":
            continue
        sent = matrix.sent_by("owner" if operation.of_portal else "admin")
        answer = await matrix.try_it(operation, matrix.ids(operation, mine), sent)
        assert answer.status not in (401, 403), operation.label
        if operation.method == "GET" and operation.name != "portal_session":
            assert answer.status == 200, operation.label
