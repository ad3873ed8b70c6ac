"""The whole table of routes against every credential: none reaches further than it should.

The matrix is made from the OpenAPI document, so that a route added later is in it by itself.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from flowhq.admin.app import ROUTES
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.scopes import ROLE_SCOPES, Role, Scope
from flowhq.admin.store import PostgresStore
from flowhq.db.pool import Database
from tests.fakes.admin import FakeFleet
from tests.integration.admin.conftest import Answer, Api
from tests.integration.admin.worlds import (
    LIMITED,
    Operation,
    make_shop,
    make_token,
    operations_of,
)

NOBODY = "5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a"
# Of no tenant: what they show to a credential for some tenants is limited by their own tests.
ALL = ROLE_SCOPES[Role.ADMIN]
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


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
def portal(database: Database) -> PortalStore:
    return PortalStore(database)


@dataclass(frozen=True)
class World:
    api: Api
    operations: list[Operation]
    mine: dict[str, str]
    theirs: dict[str, str]

    async def try_it(self, operation: Operation, ids: dict[str, str], sent: str | None) -> Answer:
        """The operation with an empty body, under this Authorization; None is nobody."""
        options: dict[str, Any] = {"json": {}} if "requestBody" in operation.described else {}
        path = operation.at(dict.fromkeys(_names(operation), NOBODY) | ids)
        if sent is not None:
            options["headers"] = {"Authorization": sent}
            return await self.api.call(operation.method, path, **options)
        async with self.api.session.request(
            operation.method, self.api.base + path, **options
        ) as response:
            raw = await response.read()
            body = await response.json(content_type=None) if raw else None
            return Answer(response.status, response.headers, raw, body)


def _names(operation: Operation) -> list[str]:
    return [
        parameter["name"]
        for parameter in operation.described["parameters"]
        if parameter["in"] == "path"
    ]


@pytest.fixture
async def world(api: Api, database: Database, postgres_url: str) -> World:
    described = (await api.call("GET", "/openapi.json")).body
    mine = await make_shop(api, database, postgres_url, "+255712345601")
    theirs = await make_shop(api, database, postgres_url, "+255712345602")
    return World(api, operations_of(described), mine, theirs)


async def test_nobody_gets_in_without_a_credential(world: World, fleet: FakeFleet) -> None:
    before = list(fleet.calls)
    for operation in world.operations:
        if operation.scope is not None and operation.scope is not Scope.PORTAL:
            answer = await world.try_it(operation, world.mine, None)
            assert (operation.label, answer.status) == (operation.label, 401)
            assert answer.kind == "unauthorized"
    assert fleet.calls == before


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_does_what_its_scopes_allow_and_nothing_else(
    world: World, fleet: FakeFleet, role: Role
) -> None:
    token = await make_token(world.api, role.value, ROLE_SCOPES[role])
    before = list(fleet.calls)
    refused = 0
    for operation in world.operations:
        if operation.scope is None or operation.scope in ROLE_SCOPES[role]:
            continue
        if operation.scope is Scope.PORTAL:
            continue
        answer = await world.try_it(operation, world.mine, token)
        assert (operation.label, answer.status) == (operation.label, 403)
        assert answer.kind == "forbidden"
        refused += 1
    assert fleet.calls == before
    assert (refused > 0) is (role is not Role.ADMIN)


async def test_another_tenants_ids_are_those_of_nobody(world: World, fleet: FakeFleet) -> None:
    token = await make_token(world.api, "mine", LIMITED, [world.mine["tenant_id"]])
    before = list(fleet.calls)
    tried = 0
    for operation in world.operations:
        if operation.has_tenant and operation.scope in LIMITED:
            theirs = await world.try_it(operation, world.theirs, token)
            nobodys = await world.try_it(operation, {}, token)
            assert (operation.label, theirs.status) == (operation.label, 404)
            words = theirs.body["detail"].replace(world.theirs["tenant_id"], NOBODY)
            assert words == nobodys.body["detail"]
            tried += 1
    assert tried >= 20
    assert fleet.calls == before


async def test_what_is_anothers_is_not_found_under_ones_own_tenant(
    world: World, fleet: FakeFleet
) -> None:
    token = await make_token(world.api, "mine", LIMITED, [world.mine["tenant_id"]])
    before = list(fleet.calls)
    tried = 0
    for operation in world.operations:
        below = set(_names(operation)) - {"tenant_id"}
        if not operation.has_tenant or not below or operation.scope not in LIMITED:
            continue
        mixed = world.theirs | {"tenant_id": world.mine["tenant_id"]}
        answer = await world.try_it(operation, mixed, token)
        assert (operation.label, answer.status) == (operation.label, 404)
        tried += 1
    assert tried >= 3
    assert fleet.calls == before


def test_every_route_that_looks_at_its_caller_itself_is_known() -> None:
    """Whoever adds one adds its test of what it shows to a credential for some tenants."""
    own = {route.name for route in ROUTES if not route.fleet_wide and route.needs in ALL}
    assert own == OWN_REACH


async def test_an_answer_about_all_tenants_is_not_for_a_credential_of_some(world: World) -> None:
    token = await make_token(world.api, "mine", LIMITED, [world.mine["tenant_id"]])
    for operation in world.operations:
        if operation.has_tenant or operation.scope not in ALL or operation.name in OWN_REACH:
            continue
        answer = await world.try_it(operation, world.theirs, token)
        assert (operation.label, answer.status) == (operation.label, 403)


async def test_a_credential_of_some_tenants_lists_and_moves_those_alone(
    world: World, fleet: FakeFleet
) -> None:
    mine, theirs = world.mine["tenant_id"], world.theirs["tenant_id"]
    token = await make_token(world.api, "mine", LIMITED, [mine])
    sent = {"Authorization": token}
    listed = await world.api.call("GET", "/admin/tenants", headers=sent)
    assert [tenant["id"] for tenant in listed.body["items"]] == [mine]
    foreign = await world.api.call("GET", "/admin/tenants?q=%2B255712345602", headers=sent)
    assert foreign.body["items"] == []
    before = list(fleet.calls)
    for body in ({"tenants": [theirs]}, {"tenants": [mine, theirs]}):
        refused = await world.api.call(
            "POST", "/admin/bulk", json={"verb": "stop", **body}, headers=sent
        )
        assert (refused.status, refused.fields) == (400, ["tenants"])
    assert fleet.calls == before
    run = await world.api.call(
        "POST", "/admin/bulk", json={"verb": "stop", "filter": {}}, headers=sent
    )
    assert [item["tenant_id"] for item in run.body["items"]] == [mine]
    foreign = await world.api.call("GET", f"/admin/bulk/{world.theirs['run']}", headers=sent)
    assert (foreign.status, foreign.kind) == (404, "not-found")
    own = await world.api.call("GET", f"/admin/bulk/{run.body['id']}", headers=sent)
    assert own.status == 200


async def test_what_was_refused_is_open_to_whoever_may(world: World) -> None:
    """The matrix shows something: with all scopes, no such request is refused for its reach."""
    token = await make_token(world.api, "all", ROLE_SCOPES[Role.ADMIN])
    for operation in world.operations:
        if operation.scope not in ALL or operation.method == "DELETE" or operation.streams:
            continue
        answer = await world.try_it(operation, world.mine, token)
        assert answer.status not in (401, 403), operation.label
