"""Every refusal of the API as one kind of answer: application/problem+json (RFC 9457).

`KINDS` is the whole list; docs/api.md describes each. What raises which error is decided by the
class of the error (flowhq.errors); here it only gets its status. No message of an unexpected
exception ever reaches a client.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from aiohttp import web

from flowhq.errors import (
    AlreadyExistsError,
    BackupError,
    ChangedMeanwhileError,
    FlowHQError,
    InvalidInputError,
    MisconfiguredError,
    NotFoundError,
    StoreUnavailableError,
    StoreUnusableError,
    WrongStateError,
)

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:flowhq:problem:"
# For an id that there is not, where the one who says so knows no better.
LOOK_IT_UP = "Ask the list of such things for the ids that there are: GET /openapi.json has it."
# How long a client waits before it asks a database again that was away.
STORE_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of refusal: ``name`` is stable and for programs, ``title`` is for people."""

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        return TYPE_PREFIX + self.name


INVALID_INPUT = Kind("invalid-input", 400, "The request has invalid input")
SECRET_IN_URL = Kind("secret-in-url", 400, "A secret was sent in the address")
BAD_REQUEST = Kind("bad-request", 400, "The request cannot be understood")
UNAUTHORIZED = Kind("unauthorized", 401, "A valid password or token is needed")
FORBIDDEN = Kind("forbidden", 403, "The credentials do not reach this far")
SIGN_IN_FAILED = Kind("sign-in-failed", 403, "The sign-in did not succeed")
CROSS_SITE = Kind("cross-site", 403, "Another web site must not do this")
NOT_FOUND = Kind("not-found", 404, "There is no such thing")
UNKNOWN_USER = Kind("unknown-user", 404, "Nobody signed in with this address")
UNKNOWN_PATH = Kind("unknown-path", 404, "There is no such address")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "The address does not take this method")
REQUEST_TIMEOUT = Kind("request-timeout", 408, "The request took too long to arrive")
ALREADY_EXISTS = Kind("already-exists", 409, "It exists already")
WRONG_STATE = Kind("wrong-state", 409, "It does not fit the present state")
CHANGED_MEANWHILE = Kind("changed-meanwhile", 409, "It was changed by someone else")
IDEMPOTENCY_IN_PROGRESS = Kind("idempotency-in-progress", 409, "The same request is being done")
IDEMPOTENCY_OUTCOME_UNKNOWN = Kind(
    "idempotency-outcome-unknown", 409, "What became of the first request cannot be told"
)
LINK_GONE = Kind("link-gone", 410, "The link is not good any more")
TOO_LARGE = Kind("too-large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE = Kind("unsupported-media-type", 415, "The body is not JSON")
WRONG_HOST = Kind("wrong-host", 421, "The API does not answer under this name")
IDEMPOTENCY_KEY_REUSED = Kind("idempotency-key-reused", 422, "The key belongs to another request")
TOO_MANY_ATTEMPTS = Kind("too-many-attempts", 429, "Too many attempts to sign in")
TOO_MANY_REQUESTS = Kind("too-many-requests", 429, "Too many requests")
INTERNAL = Kind("internal", 500, "Something went wrong inside")
ISSUER_UNAVAILABLE = Kind("issuer-unavailable", 502, "Nobody can sign in at the issuer now")
TOO_MANY_STREAMS = Kind("too-many-streams", 503, "Too many event streams are open")
MISCONFIGURED = Kind("misconfigured", 503, "Something outside must be set right first")
UNAVAILABLE = Kind("unavailable", 503, "The database cannot be reached")

KINDS = (
    INVALID_INPUT,
    SECRET_IN_URL,
    BAD_REQUEST,
    UNAUTHORIZED,
    FORBIDDEN,
    SIGN_IN_FAILED,
    CROSS_SITE,
    NOT_FOUND,
    UNKNOWN_USER,
    UNKNOWN_PATH,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    ALREADY_EXISTS,
    WRONG_STATE,
    CHANGED_MEANWHILE,
    IDEMPOTENCY_IN_PROGRESS,
    IDEMPOTENCY_OUTCOME_UNKNOWN,
    LINK_GONE,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    WRONG_HOST,
    IDEMPOTENCY_KEY_REUSED,
    TOO_MANY_ATTEMPTS,
    TOO_MANY_REQUESTS,
    INTERNAL,
    ISSUER_UNAVAILABLE,
    TOO_MANY_STREAMS,
    MISCONFIGURED,
    UNAVAILABLE,
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; ``field`` is its path, such as ``hours_json.mon[0]``."""

    field: str
    message: str


class ProblemError(FlowHQError):
    """A refusal that only HTTP knows; ends the request with the answer it describes."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        next_step: str = "",
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, next_step=next_step)
        self.kind = kind
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def invalid(*errors: FieldError) -> ProblemError:
    """The refusal that names the fields; its detail repeats them for people."""
    detail = " ".join(f"{error.field}: {error.message}" for error in errors[:5])
    return ProblemError(INVALID_INPUT, detail, errors=errors)


def forbidden(detail: str) -> ProblemError:
    return ProblemError(
        FORBIDDEN, detail, next_step="Use a credential with that reach, or ask an admin for it."
    )


def of_error(error: FlowHQError) -> ProblemError:
    """The refusal for an error of ours; INTERNAL, without its message, if it is not for clients."""
    match error:
        case ProblemError():
            return error
        case InvalidInputError():
            return invalid(FieldError(error.field, str(error)))
        case AlreadyExistsError():
            field = FieldError(error.field, error.message)
            return _same_words(ALREADY_EXISTS, error, errors=[field])
        case NotFoundError():
            problem = _same_words(NOT_FOUND, error)
            problem.next_step = error.next_step or LOOK_IT_UP
            return problem
        case WrongStateError():
            return _same_words(WRONG_STATE, error)
        case ChangedMeanwhileError():
            return _same_words(CHANGED_MEANWHILE, error)
        case MisconfiguredError() | BackupError():
            return _same_words(MISCONFIGURED, error)
        case StoreUnavailableError() | StoreUnusableError():
            refuses = isinstance(error, StoreUnusableError)
            wait = {"Retry-After": str(STORE_RETRY_AFTER_S)}
            return ProblemError(
                UNAVAILABLE,
                "The database refuses the daemon." if refuses else "The database does not answer.",
                next_step="Try again soon; every request can be repeated.",
                headers=wait,
            )
        case _:
            return internal()


def of_http(error: web.HTTPException) -> ProblemError:
    """The refusal for what aiohttp raises by itself (routing, size of the body)."""
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return ProblemError(
                METHOD_NOT_ALLOWED, f"Allowed here: {allowed}.", headers={"Allow": allowed}
            )
        case web.HTTPNotFound():
            return ProblemError(
                UNKNOWN_PATH,
                "No route has this address.",
                next_step="GET /openapi.json lists every route.",
            )
        case web.HTTPRequestEntityTooLarge():
            return ProblemError(TOO_LARGE, "The body is larger than the API takes.")
        case _ if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return ProblemError(BAD_REQUEST, f"{error.reason}.")
        case _:
            return internal()


def internal() -> ProblemError:
    return ProblemError(
        INTERNAL,
        "The request was not completed.",
        next_step="The daemon's log has the cause under this request_id.",
    )


def answer(problem: ProblemError, request_id: str) -> web.Response:
    """The response that tells a client of the refusal."""
    body = {
        "type": problem.kind.type,
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.message,
        "next_step": problem.next_step,
        "errors": [{"field": e.field, "message": e.message} for e in problem.errors],
        "request_id": request_id,
    }
    return web.Response(
        status=problem.kind.status,
        body=orjson.dumps(body),
        content_type=CONTENT_TYPE,
        headers=problem.headers,
    )


def _same_words(
    kind: Kind, error: FlowHQError, *, errors: Iterable[FieldError] = ()
) -> ProblemError:
    return ProblemError(kind, error.message, next_step=error.next_step, errors=errors)
