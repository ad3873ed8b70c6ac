"""What comes in, checked: the body, the query and the id of a request become typed values.

Every refusal names its field and nothing is acted on before all of it fits. What the fields of one
area mean is the business of that area's models; here is only what all of them share.
"""

import asyncio
import difflib
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from flowhq.admin.problems import (
    BAD_REQUEST,
    NOT_FOUND,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    FieldError,
    ProblemError,
    invalid,
)
from flowhq.errors import InvalidInputError
from flowhq.model import TenantId

BODY_MAX_BYTES = 1024 * 1024
# A body that trickles in slower than this holds a connection for nothing.
BODY_TIMEOUT_S = 20
NAME_MAX = 120
# More mistakes than a person reads at once; a hostile body could make thousands.
ERRORS_MAX = 50
# No body of ours needs more; beyond it a program would trip over its own stack.
DEPTH_MAX = 32
# A field name that a client made up is cut to this length before it is told back.
FIELD_MAX = 120

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Input(BaseModel):
    """The base of every body: exact types, no unknown fields, values never told in errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Query(BaseModel):
    """The base of every query: text is turned into the field's type, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoBody(Input):
    """For routes that take no body: none, or an empty object."""


class NoQuery(Query):
    """For routes that take no query."""


InputT = TypeVar("InputT", bound=Input)
QueryT = TypeVar("QueryT", bound=Query)


def _one_line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must be one line without control characters")
    return value


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_MAX),
    AfterValidator(_one_line),
]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


# A field of a change: the default only stands for "not given", and the description has none.
optional = partial(Field, json_schema_extra=_without_default)


def converted(convert: Callable[[Any], Any]) -> AfterValidator:
    """A field's validator out of a function that returns the value to keep.

    Its InvalidInputError names the whole path, or nothing for the field itself.
    """

    def validate(value: Any) -> Any:
        try:
            return convert(value)
        except InvalidInputError as error:
            raise PydanticCustomError(
                "domain", "{message}", {"message": str(error), "path": error.field}
            ) from error

    return AfterValidator(validate)


def checked(check: Callable[[Any], object]) -> AfterValidator:
    """Like `converted`, but the value stays as it came."""

    def keep(value: Any) -> Any:
        check(value)
        return value

    return converted(keep)


async def read_body(request: web.Request, model: type[InputT]) -> InputT:
    """The body as ``model``; ProblemError 400, 408, 413 or 415 if it cannot be that."""
    raw = await _read_raw(request)
    if model is NoBody:
        if raw.strip() not in (b"", b"{}"):
            _refuse_body("takes no body here: leave it out.")
        return model()
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in (
        "utf-8",
        "utf8",
        "us-ascii",
    ):
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE,
            "The body must be JSON in UTF-8.",
            next_step="Send the header Content-Type: application/json.",
            headers={"Accept-Post": "application/json"},
        )
    document = _parse_json(raw)
    if not isinstance(document, dict):
        _refuse_body("must be a JSON object.")
    _refuse_odd_content(document)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _refusal(error, model) from None


def read_query(request: web.Request, model: type[QueryT]) -> QueryT:
    """The query as ``model``; ProblemError naming the key if it does not fit."""
    values: dict[str, str] = {}
    errors = []
    for key, value in request.query.items():
        if key in values:
            errors.append(FieldError(key[:FIELD_MAX], "is given twice."))
        if "\0" in value or "\0" in key:
            errors.append(FieldError(key[:FIELD_MAX], "must not contain NUL characters."))
        values[key] = value
    if errors:
        raise invalid(*errors[:ERRORS_MAX])
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        raise _refusal(error, model) from None


def read_tenant_id(request: web.Request) -> TenantId:
    """The id in the path; an impossible one is told like one that does not exist."""
    text = request.match_info["tenant_id"]
    if not _UUID.fullmatch(text):
        raise ProblemError(
            NOT_FOUND,
            "There is no tenant with this id.",
            next_step="GET /admin/tenants lists the ids.",
            errors=[FieldError("tenant_id", "is not a tenant's id.")],
        )
    return TenantId(UUID(text))


def read_path_id(request: web.Request, name: str) -> UUID:
    """A further id in the path, by its name there."""
    text = request.match_info[name]
    if not _UUID.fullmatch(text):
        raise ProblemError(
            NOT_FOUND,
            f"There is no {name} with this id.",
            errors=[FieldError(name, f"is not the id of a {name}.")],
        )
    return UUID(text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean x?`` or nothing, to be added to a sentence."""
    close = difflib.get_close_matches(word[:FIELD_MAX].lower(), list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


async def _read_raw(request: web.Request) -> bytes:
    if (request.content_length or 0) > BODY_MAX_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    except TimeoutError as error:
        raise ProblemError(REQUEST_TIMEOUT, "The body did not arrive in time.") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise ProblemError(BAD_REQUEST, "The body was cut off or is badly encoded.") from error


def _too_large() -> ProblemError:
    limit = f"{BODY_MAX_BYTES // 1024} KiB"
    return ProblemError(
        TOO_LARGE,
        f"The body is larger than {limit}.",
        errors=[FieldError("body", f"must be at most {limit}.")],
        headers={"Connection": "close"},
    )


def _parse_json(raw: bytes) -> Any:
    """What orjson reads, which is strict; the second reader only finds keys given twice."""
    try:
        document = orjson.loads(raw)
        json.loads(raw, object_pairs_hook=_once_each)
    except orjson.JSONDecodeError as error:
        where = f" (line {error.lineno}, column {error.colno})" if raw else ": it is empty"
        _refuse_body(f"is not JSON{where}.")
    except RecursionError:
        _refuse_body("is nested too deeply.")
    return document


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise invalid(FieldError(twice[:FIELD_MAX], "is given twice."))
    return members


def _refuse_body(message: str) -> NoReturn:
    raise invalid(FieldError("body", message))


def _refuse_odd_content(document: dict[str, Any]) -> None:
    """Refuses NUL in keys or texts, which PostgreSQL cannot store, and bottomless nesting."""
    errors: list[FieldError] = []
    waiting: list[tuple[str, Any, int]] = [("", document, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if depth > DEPTH_MAX:
            _refuse_body("is nested too deeply.")
        if isinstance(value, str) and "\0" in value:
            errors.append(FieldError(path, "must not contain NUL characters."))
        elif isinstance(value, list):
            waiting += [(f"{path}[{n}]", item, depth + 1) for n, item in enumerate(value)]
        elif isinstance(value, dict):
            for key, item in value.items():
                name = key.replace("\0", "\\0")[:FIELD_MAX]
                below = f"{path}.{name}" if path else name
                if "\0" in key:
                    errors.append(FieldError(below, "must not have NUL characters in its name."))
                waiting.append((below, item, depth + 1))
    if errors:
        raise invalid(*errors[:ERRORS_MAX])


def _refusal(error: ValidationError, model: type[BaseModel]) -> ProblemError:
    details = error.errors(include_url=False, include_input=False)
    return invalid(*(_field_error(detail, model) for detail in details[:ERRORS_MAX]))


def _field_error(detail: ErrorDetails, model: type[BaseModel]) -> FieldError:
    path = str(detail.get("ctx", {}).get("path", "")) or _path(detail["loc"])
    return FieldError(path, _without_path(_message(detail, model), path))


def _without_path(message: str, path: str) -> str:
    """The message without the path that it begins with, or that of what is around the field: the
    domain's sentences stand alone, these stand beside the path."""
    for spoken in (path, re.split(r"[.\[][^.\[]*$", path)[0]):
        rest = message.removeprefix(spoken)
        if spoken and rest != message and rest[:1] in (" ", ":"):
            return rest.lstrip(": ")
    return message


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            unknown = str(detail["loc"][-1])
            return "is unknown here." + did_you_mean(unknown, model.model_fields)
        case "missing":
            return "is required."
        case "string_too_short":
            return "must not be empty."
        case "domain":
            return detail["msg"]
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            message = message.replace("a valid dictionary", "a JSON object")
            message = message.replace("a valid list", "a JSON list")
            message = message.replace("Input should be", "must be")
            message = message.replace("String should have", "must have")
            return message if message.endswith(".") else f"{message}."


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part[:FIELD_MAX]}" if path else part[:FIELD_MAX]
    return path
