"""The OpenAPI document and the docs say what the route table says."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowhq.admin import problems
from flowhq.admin.accounting import RepliesView, TenantAccountView, TotalAccountView
from flowhq.admin.app import ROUTES
from flowhq.admin.audit import AuditEntryView, ChangeView
from flowhq.admin.bulk import BulkFilter, BulkItemView, BulkRequest, BulkVerb, BulkView
from flowhq.admin.chats import ChatView
from flowhq.admin.data import ContactErasedView, ContactErasure, TenantErasedView
from flowhq.admin.deliveries import DeliveryView, ReplayedView, ReplayWebhook
from flowhq.admin.logs import EventView, LogView
from flowhq.admin.messages import (
    DeadView,
    DecisionView,
    LimitView,
    MessageView,
    ReceivedView,
    ReplyView,
)
from flowhq.admin.openapi import document, problems_of
from flowhq.admin.pairing_links import NewPairingLinkView, PairState, PairView
from flowhq.admin.portal import (
    OwnerView,
    OwnTenantView,
    SetupRequestInput,
    SignedInView,
    SignIn,
)
from flowhq.admin.portal_keys import NewPortalKeyView
from flowhq.admin.portal_signin import PortalSessionView
from flowhq.admin.scopes import ROLE_SCOPES, Role, Scope
from flowhq.admin.sending import SendMessage, SentView
from flowhq.admin.sessions import AdminSessionView, IdentityView
from flowhq.admin.setup_requests import RequestedView
from flowhq.admin.tenants import ChangeTenant, CreateTenant, TenantView
from flowhq.admin.tokens import CreateToken, NewTokenView
from flowhq.admin.users import ChangePassword, ChangeUser, CreateUser, UserView
from flowhq.admin.webhooks import (
    ChangeWebhook,
    CreateWebhook,
    NewWebhookView,
    TrialView,
)
from flowhq.admin.workers import WorkerView
from flowhq.db.bulk import Outcome
from flowhq.db.setup import SetupStatus
from tests.integration.admin.conftest import Api

DOCS = Path(__file__).parents[3] / "docs"
API = (DOCS / "api.md").read_text(encoding="utf-8")
PORTAL = (DOCS / "portal.md").read_text(encoding="utf-8")
WALK = (DOCS.parent / "README.md").read_text(encoding="utf-8")


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            else:
                yield from _refs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _refs(item)


async def test_the_description_is_served_and_whole(api: Api) -> None:
    served = (await api.call("GET", "/openapi.json")).body
    assert served == json.loads(json.dumps(document(ROUTES, "0.0.test")))
    assert served["openapi"] == "3.1.0"
    schemas = served["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in _refs(served)} == set(schemas)
    operations = [
        (method.upper(), path) for path, item in served["paths"].items() for method in item
    ]
    assert sorted(operations) == sorted((route.method, route.path) for route in ROUTES)


def test_a_stream_says_from_where_it_can_be_taken_up() -> None:
    parameters = document(ROUTES, "test")["paths"]["/admin/events"]["get"]["parameters"]
    [header] = [one for one in parameters if one["in"] == "header"]
    assert header["name"] == "Last-Event-ID"
    assert re.fullmatch(header["schema"]["pattern"], "evt_17")


def test_each_operation_has_a_name_of_its_own() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)


def test_every_problem_is_described_by_some_route() -> None:
    described = {kind for route in ROUTES for kind in problems_of(route)}
    # These two are about no route: there is no such address, or no such method.
    assert described | {problems.UNKNOWN_PATH, problems.METHOD_NOT_ALLOWED} == set(problems.KINDS)


def test_the_docs_have_every_route_and_nothing_else() -> None:
    documented = re.findall(r"^\| `([A-Z]+ /\S+)` \|", API, re.MULTILINE)
    assert sorted(documented) == sorted(f"{route.method} {route.path}" for route in ROUTES)


def test_the_docs_have_every_problem_with_its_status() -> None:
    documented = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", API, re.MULTILINE)
    assert sorted(documented) == sorted((kind.name, str(kind.status)) for kind in problems.KINDS)


@pytest.mark.parametrize(
    "model",
    [
        CreateTenant,
        TenantView,
        WorkerView,
        LogView,
        EventView,
        ChatView,
        DeadView,
        MessageView,
        ReceivedView,
        DecisionView,
        LimitView,
        ReplyView,
        RepliesView,
        TenantAccountView,
        TotalAccountView,
        AuditEntryView,
        ChangeView,
        CreateUser,
        ChangeUser,
        ChangePassword,
        UserView,
        AdminSessionView,
        IdentityView,
        CreateToken,
        NewTokenView,
        CreateWebhook,
        ChangeWebhook,
        ReplayWebhook,
        NewWebhookView,
        TrialView,
        DeliveryView,
        ReplayedView,
        SendMessage,
        SentView,
        BulkRequest,
        BulkFilter,
        BulkView,
        BulkItemView,
        TenantErasedView,
        ContactErasedView,
        ContactErasure,
    ],
)
def test_the_docs_have_every_field(model: Any) -> None:
    for name in model.model_fields:
        assert f"`{name}`" in API or f'"{name}"' in API, name


def test_the_docs_have_every_scope_with_its_roles() -> None:
    rows = re.findall(r"^\| `([a-z:]+)` \| [^|]+ \|([^|]*)\|([^|]*)\|([^|]*)\|$", API, re.MULTILINE)
    told = {scope: [cell.strip() == "yes" for cell in cells] for scope, *cells in rows}
    assert told == {scope: [scope in ROLE_SCOPES[role] for role in Role] for scope in Scope}


@pytest.mark.parametrize(
    "model",
    [
        NewPairingLinkView,
        NewPortalKeyView,
        OwnTenantView,
        OwnerView,
        PairView,
        PortalSessionView,
        RequestedView,
        SetupRequestInput,
        SignIn,
        SignedInView,
    ],
)
def test_the_docs_of_the_portal_have_every_field(model: Any) -> None:
    for name in model.model_fields:
        assert f"`{name}`" in PORTAL or f'"{name}"' in PORTAL, name


def test_the_docs_of_the_portal_have_every_state() -> None:
    for state in (*SetupStatus, *PairState):
        assert state.value in PORTAL


def test_the_docs_have_every_verb_and_outcome_of_a_bulk_run() -> None:
    for word in (*BulkVerb, *Outcome):
        assert f"`{word}`" in API, word


def test_the_docs_have_every_query_parameter() -> None:
    for route in ROUTES:
        for name in route.query.model_fields:
            assert f"`{name}`" in API or f"`?{name}=" in API, name


def test_a_change_takes_the_fields_of_a_new_tenant() -> None:
    assert list(ChangeTenant.model_fields) == list(CreateTenant.model_fields)


def test_the_walkthrough_is_shell_and_uses_real_routes() -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", WALK, re.MULTILINE | re.DOTALL))
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    used = set(re.findall(r"(?:\bapi \"?|\$\{API%/\})(/[^\s\"'?]+)", script))
    known = {route.path.replace("{tenant_id}", "$TENANT") for route in ROUTES}
    assert used
    assert used <= known
