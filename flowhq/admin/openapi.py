"""The OpenAPI 3.1 document, made from the route table and from nothing else."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from flowhq.admin import problems, stream
from flowhq.admin.cookies import COOKIE
from flowhq.admin.idempotency import HEADER, KEY_PATTERN, REPLAYED_HEADER
from flowhq.admin.inputs import NoBody, NoQuery
from flowhq.admin.portal_auth import KEY_HEADER, SESSION_COOKIE, USER_HEADER
from flowhq.admin.problems import Kind
from flowhq.admin.routes import TENANT_PATH, AnyRoute
from flowhq.admin.scopes import Scope
from flowhq.admin.versions import TAGS_PATTERN
from flowhq.db.events import EVENT_ID_PATTERN

JSON = "application/json"
_REF = "#/components/schemas/{model}"
_GATES = (problems.BAD_REQUEST, problems.SECRET_IN_URL, problems.WRONG_HOST, problems.INTERNAL)
_SIGNED_IN = (
    problems.UNAUTHORIZED,
    problems.FORBIDDEN,
    problems.TOO_MANY_ATTEMPTS,
    problems.TOO_MANY_REQUESTS,
)
_KEYED = (
    problems.IDEMPOTENCY_IN_PROGRESS,
    problems.IDEMPOTENCY_OUTCOME_UNKNOWN,
    problems.IDEMPOTENCY_KEY_REUSED,
)
_WITH_BODY = (problems.REQUEST_TIMEOUT, problems.TOO_LARGE, problems.UNSUPPORTED_MEDIA_TYPE)

_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "next_step", "errors", "request_id"],
    "properties": {
        "type": {"type": "string", "enum": [kind.type for kind in problems.KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "next_step": {"type": "string", "description": "What to do about it; may be empty."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "request_id": {"type": "string"},
    },
}


def document(routes: Sequence[AnyRoute], version: str) -> dict[str, Any]:
    """The whole description, as JSON-ready values; the same table gives the same document."""
    names, schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names, schemas)
    for route in routes:
        if route.query is not NoQuery:
            schemas.pop(names[route.query, "validation"], None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flow HQ admin API", "version": version},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM_SCHEMA},
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "portalKey": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
                "portalSession": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
                "portalUser": {"type": "apiKey", "in": "header", "name": USER_HEADER},
            },
        },
    }


Names = dict[tuple[Any, str], str]


def _schemas(routes: Iterable[AnyRoute]) -> tuple[Names, dict[str, Any]]:
    """The component name of each model, and all components."""
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = []
    for route in routes:
        if route.answer is not None:
            models.append((route.answer, "serialization"))
        if route.body is not NoBody:
            models.append((route.body, "validation"))
        if route.query is not NoQuery:
            models.append((route.query, "validation"))
    refs, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    names: Names = {}
    for (model, mode), schema in refs.items():
        names[model, mode] = schema["$ref"].rsplit("/", 1)[-1]
    return names, definitions.get("$defs", {})


def _operation(route: AnyRoute, names: Names, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": _parameters(route, names, schemas),
        "responses": _responses(route, names),
        "description": f"Needs the scope `{route.needs}`." if route.needs else "Open to all.",
        "security": _security(route),
    }
    if route.body is not NoBody:
        schema = _ref(names[route.body, "validation"])
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": schema}},
        }
    return operation


def _security(route: AnyRoute) -> list[dict[str, list[str]]]:
    if route.public:
        return []
    if route.needs is Scope.PORTAL:
        return [{"portalKey": [], "portalUser": []}, {"portalSession": []}]
    return [{"password": []}, {"token": []}, {"session": []}]


def _parameters(route: AnyRoute, names: Names, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [
        {"name": name, "in": "header", "required": False, "schema": schema}
        for name, schema in _headers(route)
    ]
    if route.query is NoQuery:
        return parameters
    model = schemas[names[route.query, "validation"]]
    for name, schema in model.get("properties", {}).items():
        required = name in model.get("required", ())
        parameters.append({"name": name, "in": "query", "required": required, "schema": schema})
    return parameters


def _headers(route: AnyRoute) -> Iterable[tuple[str, dict[str, Any]]]:
    """What a client may say about repeats, and about what it has seen."""
    if stream.MEDIA in route.media:
        yield stream.LAST_EVENT_HEADER, {"type": "string", "pattern": f"^{EVENT_ID_PATTERN}$"}
    if route.keyed or route.own_keys:
        yield HEADER, {"type": "string", "pattern": f"^{KEY_PATTERN}$"}
    if route.versioned:
        name = "If-None-Match" if route.method == "GET" else "If-Match"
        yield name, {"type": "string", "pattern": f"^({TAGS_PATTERN})$"}


def _told(route: AnyRoute) -> Iterable[str]:
    """The headers that an answer may have for the client's next request."""
    if route.keyed:
        yield REPLAYED_HEADER
    if route.versioned and route.status is not HTTPStatus.NO_CONTENT:
        yield "ETag"


def _responses(route: AnyRoute, names: Names) -> dict[str, Any]:
    success: dict[str, Any] = {"description": route.status.phrase}
    content = {media: {"schema": {"type": "string"}} for media in route.media if media != JSON}
    if route.answer is not None:
        content[JSON] = {"schema": _ref(names[route.answer, "serialization"])}
    if content:
        success["content"] = content
    if headers := {name: {"schema": {"type": "string"}} for name in _told(route)}:
        success["headers"] = headers
    responses = {str(status.value): success for status in (route.status, *route.also)}
    if route.versioned and route.method == "GET":
        responses["304"] = {"description": "The client has it already."}
    for kind in problems_of(route):
        content = {problems.CONTENT_TYPE: {"schema": _ref("Problem")}}
        known = responses.setdefault(str(kind.status), {"description": "", "content": content})
        known["description"] = f"{known['description']} {kind.title} ({kind.name}).".strip()
    return responses


def problems_of(route: AnyRoute) -> tuple[Kind, ...]:
    """Every refusal the route can give, with those that come from its shape."""
    kinds = [*_GATES, problems.INVALID_INPUT, *route.problems]
    if not route.public:
        kinds += [*_SIGNED_IN, problems.UNAVAILABLE]
    if route.method not in ("GET", "HEAD"):
        kinds.append(problems.CROSS_SITE)
        kinds.append(problems.TOO_LARGE)
    if route.keyed:
        kinds += _KEYED
    if route.versioned and route.method != "GET":
        kinds.append(problems.CHANGED_MEANWHILE)
    if route.body is not NoBody:
        kinds += _WITH_BODY
    if TENANT_PATH in route.path:
        kinds.append(problems.NOT_FOUND)
    return tuple(dict.fromkeys(kinds))


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=name)}
