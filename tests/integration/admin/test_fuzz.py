"""Whatever the OpenAPI document allows, and whatever it does not: no 5xx, no answer that is not
documented, nobody unauthenticated, whoever asks.

A few examples an operation and role; FLOWHQ_TEST_FUZZ_EXAMPLES=300 makes it the full run.
"""

import asyncio
import os
from collections import Counter
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flowhq.admin.outward import Outward
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.scopes import ROLE_SCOPES, Role, Scope
from flowhq.admin.store import PostgresStore
from flowhq.db.installation import load_installation
from flowhq.db.pool import Database
from flowhq.db.sending import Sending
from flowhq.model import TenantId, TenantSnapshot
from tests.fakes.admin import FakeFleet
from tests.fakes.outward import unused_outward
from tests.integration.admin.conftest import Api, QuickClock
from tests.integration.admin.worlds import (
    LIMITED,
    Operation,
    make_shop,
    make_token,
    operations_of,
)

EXAMPLES = int(os.environ.get("FLOWHQ_TEST_FUZZ_EXAMPLES", "3"))
CALL_LIMIT_S = 30
LINE_MAX = 8_000
# What sends requests of its own to made-up addresses has its own tests.
CALLS_OUT = "/webhooks"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Before anybody looks at credentials, a request may be refused for what it is.
GATES = (400, 403, 413, 421, 429)
CHANGES = frozenset({Scope.TENANTS_WRITE, Scope.DATA_ERASE})
REACHES = ["nobody", *Role, "limited"]


class HastyFleet(FakeFleet):
    """Nothing ever changes, and nobody waits for it."""

    async def changed(self, tenant_id: TenantId, timeout_s: float) -> TenantSnapshot | None:
        await asyncio.sleep(0)
        return self.seen.get(tenant_id)


class HastyClock(QuickClock):
    """An hour of a client's waiting is over in a moment."""

    def monotonic(self) -> float:
        return super().monotonic() * 100_000


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
def portal(database: Database) -> PortalStore:
    return PortalStore(database)


@pytest.fixture
async def outward(database: Database, postgres_url: str) -> Outward:
    unused = unused_outward()
    sending = Sending(database, await load_installation(postgres_url))
    return Outward(webhooks=unused.webhooks, feed=unused.feed, sending=sending)


@pytest.fixture
def fleet() -> HastyFleet:
    return HastyFleet()


@pytest.fixture
def clock() -> HastyClock:
    return HastyClock()


class Fuzzer:
    """Sends what schemathesis makes up to one server, as one principal, and judges the answers."""

    def __init__(self, base: str, document: dict[str, Any], sent: str | None) -> None:
        schema = schemathesis.openapi.from_dict(document)
        results = schema.get_all_operations()
        found = [result.ok() for result in results if isinstance(result, Ok)]
        self._operations = {(each.method.upper(), each.path): each for each in found}
        self._base = base
        self._headers = {} if sent is None else {"Authorization": sent}
        self._session = requests.Session()
        self.seen: Counter[int] = Counter()
        self.cases: Counter[str] = Counter()

    def run(self, operation: Operation, ids: dict[str, str], scopes: frozenset[Scope]) -> None:
        """EXAMPLES cases, half of them at addresses that exist."""
        made_up = self._operations[operation.method, operation.path]
        cases = [made_up.as_strategy()]
        if operation.described["parameters"] or "requestBody" in operation.described:
            cases.append(made_up.as_strategy(generation_mode=GenerationMode.NEGATIVE))

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=st.one_of(cases), there=st.booleans())
        def try_one(case: schemathesis.Case[Any], there: bool) -> None:
            if there:
                known = {name: ids[name] for name in case.path_parameters if name in ids}
                case.path_parameters.update(known)
            self._judge(operation, case, scopes)

        try_one()

    def _judge(
        self, operation: Operation, case: schemathesis.Case[Any], scopes: frozenset[Scope]
    ) -> None:
        response = case.call(
            base_url=self._base,
            session=self._session,
            headers=self._headers,
            timeout=CALL_LIMIT_S,
            allow_redirects=False,
        )
        status = response.status_code
        self.seen[status] += 1
        self.cases[operation.label] += 1
        if len(response.request.url or "") > LINE_MAX:
            # Too long to be read as HTTP at all: the server's own refusal, before any route.
            assert status == 400
            return
        case.validate_response(response, checks=CHECKS)
        if operation.scope is not None and not self._headers:
            assert status == 401 or status in GATES, f"{operation.label}: {status} for nobody"
        elif operation.scope is not None and operation.scope not in scopes:
            assert status in GATES, f"{operation.label}: {status} below its scope"


@pytest.mark.timeout(120 + EXAMPLES * 60)
@pytest.mark.parametrize("reach", REACHES)
async def test_every_answer_is_documented_and_none_is_a_fault_of_ours(
    api: Api, database: Database, postgres_url: str, reach: str
) -> None:
    document = (await api.call("GET", "/openapi.json")).body
    scopes, sent = await _credential(api, database, postgres_url, reach)
    fuzzer = Fuzzer(api.base, document, sent)
    tried = 0
    ids = await make_shop(api, database, postgres_url, "+255713000000")
    for number, operation in enumerate(operations_of(document), start=1):
        if operation.streams or operation.scope is Scope.PORTAL or CALLS_OUT in operation.path:
            continue
        if scopes & CHANGES:
            # The one before may have been deleted.
            ids = await make_shop(api, database, postgres_url, f"+25571300{number:04}")
        await asyncio.to_thread(fuzzer.run, operation, ids, scopes)
        tried += 1
    print(f"{reach}: {tried} operations, {fuzzer.cases.total()} cases, {dict(fuzzer.seen)}")  # noqa: T201
    assert len(fuzzer.cases) == tried


async def _credential(
    api: Api, database: Database, url: str, reach: str
) -> tuple[frozenset[Scope], str | None]:
    if reach == "nobody":
        return frozenset(), None
    if reach == "limited":
        mine = await make_shop(api, database, url, "+255712345601")
        return LIMITED, await make_token(api, "limited", LIMITED, [mine["tenant_id"]])
    scopes = ROLE_SCOPES[Role(reach)]
    return scopes, await make_token(api, reach, scopes)
