"""What schemathesis makes up, sent by everybody who could ask, and every answer judged.

A case is made once and sent by all of them, each time beginning with another one. Half of the cases
are at addresses that exist, with bodies that fit as far as names can tell.
"""

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from flowhq.admin import problems
from flowhq.admin.scopes import Scope
from tests.integration.admin.routes.worlds import (
    STREAM_MEDIA,
    Caller,
    Operation,
    World,
    known_body,
    known_headers,
    known_query,
)

CALL_LIMIT_S = 30
# Enough of a stream to see that it began; it is never read to its end.
STREAM_BYTES = 4_096
# Longer, and it is not read as HTTP at all: the server's own refusal, before any route.
LINE_MAX = 8_000
# Credentials of the other half of the API are turned away before anything is looked at: of the
# cases, they send one in so many.
FOREIGN_EVERY = 10
# A world that was used up is made anew at most so often for one operation.
WORLDS_MAX = 20
# Of one kind, at one operation, told of one caller.
FAILURES_TOLD = 3
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Before anybody looks at credentials, a request may be refused for what it is.
GATES = frozenset(
    kind.name
    for kind in (
        problems.BAD_REQUEST,
        problems.SECRET_IN_URL,
        problems.CROSS_SITE,
        problems.WRONG_HOST,
        problems.TOO_MANY_ATTEMPTS,
        problems.TOO_MANY_REQUESTS,
    )
)
KINDS = {kind.name: kind for kind in problems.KINDS}
# What these have done cannot be done again to the same row.
SPENDING = frozenset(
    {
        "approve_setup_request",
        "change_password",
        "change_user",
        "change_webhook",
        "create_portal_key",
        "erase_tenant",
        "portal_oidc_callback",
        "reject_setup_request",
        "request_setup",
        "requeue_message",
    }
)
# Headers that say who asks; what a case has of them is made up.
CREDENTIALS = ("Authorization", "Cookie", "x-portal-key", "x-user-email", "X-CSRF-Token")
# How a body is framed is the client's: what is framed twice ends in the server's parser.
FRAMING = ("accept-encoding", "content-length", "transfer-encoding")

Case = schemathesis.Case[Any]


class Client:
    """One connection to the server. An answer is read whole, a stream only at its beginning."""

    def __init__(self, base: str) -> None:
        at = urlsplit(base)
        self._connection = http.client.HTTPConnection(
            at.hostname or "", at.port, timeout=CALL_LIMIT_S
        )

    def close(self) -> None:
        self._connection.close()

    def send(self, request: requests.PreparedRequest, headers: Mapping[str, str]) -> Response:
        try:
            return self._exchange(request, headers)
        except ConnectionError:
            # The server may have closed it after the last answer: once more, on a new one.
            self._connection.close()
            return self._exchange(request, headers)
        except BaseException:
            self._connection.close()
            raise

    def _exchange(self, request: requests.PreparedRequest, headers: Mapping[str, str]) -> Response:
        body = request.body
        assert body is None or isinstance(body, bytes | str)
        self._connection.request(request.method or "", request.path_url, body, headers)
        answer = self._connection.getresponse()
        streams = (answer.getheader("Content-Type") or "").startswith(STREAM_MEDIA)
        if streams:
            content = answer.read1(STREAM_BYTES)
            self._connection.close()
        else:
            content = answer.read()
        told: dict[str, list[str]] = {}
        for name, value in answer.getheaders():
            told.setdefault(name.lower(), []).append(value)
        return Response(
            status_code=answer.status,
            headers=told,
            content=content,
            request=request,
            elapsed=0.0,
            verify=False,
            encoding="utf-8",
            stream_cut_short=streams,
        )


@dataclass
class Tally:
    """What was sent and what came back."""

    cases: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)
    took_s: float = 0.0

    def add(self, other: "Tally") -> None:
        self.cases += other.cases
        self.requests += other.requests
        self.statuses += other.statuses
        self.done += other.done
        self.failures |= other.failures
        self.took_s += other.took_s

    def fail(self, operation: Operation, caller: Caller, what: str, how: str) -> None:
        told = self.failures.setdefault((operation.label, caller.name, what), [])
        if len(told) < FAILURES_TOLD:
            told.append(how)

    def summary(self) -> str:
        callers: Counter[str] = Counter()
        for (_, caller), sent in self.requests.items():
            callers[caller] += sent
        never = sorted(label for label in self.cases if not self.done[label])
        return (
            f"{len(self.cases)} operations, {self.cases.total()} cases, "
            f"{self.requests.total()} requests {dict(callers)}, "
            f"statuses {dict(sorted(self.statuses.items()))}, {len(self.failures)} failures, "
            f"{self.took_s:.0f} s; never a success: {', '.join(never) or 'none'}"
        )


class Fuzzer:
    """Tries operations of one document at one server. ``renew`` makes a world of its own."""

    def __init__(
        self,
        base: str,
        document: dict[str, Any],
        world: World,
        renew: Callable[[], World],
        examples: int,
    ) -> None:
        schema = schemathesis.openapi.from_dict(document)
        found = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
        self._made_up = {(each.method.upper(), each.path): each for each in found}
        self._base = base
        self._client = Client(base)
        self._world = world
        self._renew = renew
        self._examples = examples
        self._spent = False
        self._worlds = 0
        self.tally = Tally()

    @property
    def callers(self) -> Sequence[str]:
        return list(self._world.callers)

    def close(self) -> None:
        self._client.close()

    def run(self, operation: Operation) -> None:
        """So many cases of one operation."""
        began_s = time.monotonic()
        self._worlds = 0
        made_up = self._made_up[operation.method, operation.path]
        cases = [made_up.as_strategy()]
        if operation.described["parameters"] or operation.has_body:
            cases.append(made_up.as_strategy(generation_mode=GenerationMode.NEGATIVE))

        @hypothesis.settings(
            max_examples=self._examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=st.one_of(cases), there=st.booleans())
        def try_one(case: Case, there: bool) -> None:
            self._try(operation, case, there=there)

        try_one()
        if self._spent:
            self._take_new_world()
        self.tally.took_s += time.monotonic() - began_s

    def _try(self, operation: Operation, case: Case, *, there: bool) -> None:
        """One case, sent by everybody."""
        number = self.tally.cases[operation.label]
        self.tally.cases[operation.label] += 1
        world = self._world
        if there:
            _put_in(operation, case, world)
        request = _prepare(case, self._base)
        for caller in _in_turn(list(world.callers.values()), number):
            if _is_foreign(caller, operation) and number % FOREIGN_EVERY:
                continue
            headers = _headers(request, operation, world, caller, keep=number % 2 == 0)
            self.tally.requests[operation.label, caller.name] += 1
            try:
                answer = self._client.send(request, headers)
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.tally.fail(operation, caller, f"no answer: {error!r}", _told(request))
                continue
            self._judge(operation, case, caller, answer)
        if self._spent and self._worlds < WORLDS_MAX:
            self._take_new_world()

    def _take_new_world(self) -> None:
        self._world = self._renew()
        self._worlds += 1
        self._spent = False

    def _judge(self, operation: Operation, case: Case, caller: Caller, answer: Response) -> None:
        status = answer.status_code
        self.tally.statuses[status] += 1
        if status < 400:
            self.tally.done[operation.label] += 1
            self._spent |= operation.method == "DELETE" or operation.name in SPENDING
        told = _told(answer.request)
        if len(answer.request.path_url) > LINE_MAX:
            if status != 400:
                self.tally.fail(operation, caller, f"{status} for an endless address", told)
            return
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            for one in group.exceptions:
                self.tally.fail(operation, caller, f"{status}: {_headline(one)}", told)
        for what in _complaints(operation, caller, answer, self._world):
            self.tally.fail(operation, caller, what, f"{told} -> {status} {_text(answer)}")


def _put_in(operation: Operation, case: Case, world: World) -> None:
    """Known ids and values in the place of made-up ones."""
    if isinstance(case.path_parameters, dict):
        ids = world.ids_at(operation, world.mine)
        case.path_parameters.update(
            {name: ids[name] for name in case.path_parameters if name in ids}
        )
    for part, known in (
        (case.query, known_query(operation, world)),
        (case.body, known_body(operation, world)),
    ):
        if isinstance(part, dict):
            part.update({name: known[name] for name in part if name in known})


def _prepare(case: Case, base: str) -> requests.PreparedRequest:
    return requests.Request(**case.as_transport_kwargs(base_url=base)).prepare()


def _in_turn(callers: Sequence[Caller], number: int) -> Iterator[Caller]:
    """Each is the first one now and then: what one has done may leave nothing to the next."""
    first = random.Random(number).randrange(len(callers))
    yield from callers[first:]
    yield from callers[:first]


def _is_foreign(caller: Caller, operation: Operation) -> bool:
    """Whether it makes no difference what else the request says."""
    if not caller.scopes:
        return False
    return operation.scope is None or (Scope.PORTAL in caller.scopes) is not operation.of_portal


def _headers(
    request: requests.PreparedRequest,
    operation: Operation,
    world: World,
    caller: Caller,
    *,
    keep: bool,
) -> dict[str, str]:
    """Those of the case with the caller's own; of made-up credentials, nobody sends some."""
    headers = {
        name: value.decode("latin-1") if isinstance(value, bytes) else value
        for name, value in request.headers.items()
        if name.lower() not in FRAMING
    }
    if caller.scopes or not keep:
        for name in [one for one in headers if one.lower() in {c.lower() for c in CREDENTIALS}]:
            del headers[name]
    return {**headers, **known_headers(operation, world), **caller.headers}


def _complaints(
    operation: Operation, caller: Caller, answer: Response, world: World
) -> Iterator[str]:
    """What is wrong with an answer beside its form."""
    kind = ""
    if answer.status_code >= 400:
        kind, wrong = _problem(answer)
        yield from wrong
    if b"Traceback" in answer.content:
        yield "it tells a traceback"
    if operation.scope is None:
        return
    if any(word.encode() in answer.content for word in _secrets(caller, world)):
        yield "it tells of a shop out of reach"
    refused = kind in GATES or kind == problems.UNAUTHORIZED.name
    if operation.scope in caller.scopes:
        if caller.home is world.theirs and operation.has_tenant and answer.status_code < 400:
            yield "it was done to a shop out of reach"
    elif not caller.scopes or _is_foreign(caller, operation):
        if not refused:
            yield f"{answer.status_code} {kind} without a credential"
    elif not (refused or kind == problems.FORBIDDEN.name):
        yield f"{answer.status_code} {kind} below its scope"


def _secrets(caller: Caller, world: World) -> list[str]:
    """What must not be told to this caller."""
    if caller.scopes and caller.home is None:
        return []
    return [shop.word for shop in (world.mine, world.theirs) if shop is not caller.home]


def _problem(answer: Response) -> tuple[str, list[str]]:
    """The kind of a refusal, and what it does not say."""
    try:
        told = json.loads(answer.content)
        name = told["type"].removeprefix(problems.TYPE_PREFIX)
        kind, errors, next_step = KINDS[name], told["errors"], told["next_step"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ["a refusal that is no problem of ours"]
    wrong = []
    if kind.status != answer.status_code or not told["detail"]:
        wrong.append(f"{name} with another status, or without a word")
    if kind is problems.INVALID_INPUT and not (errors and all(e["message"] for e in errors)):
        wrong.append("invalid input that names no field")
    if not (errors or next_step):
        wrong.append(f"{name} says neither what is wrong nor what to do")
    return name, wrong


def _headline(error: BaseException) -> str:
    """What was found, without what differs from case to case."""
    if isinstance(error, Failure):
        return f"{error.title}: {error.message.splitlines()[0] if error.message else ''}"
    return repr(error)


def _told(request: requests.PreparedRequest) -> str:
    body = request.body if isinstance(request.body, bytes | str) else b""
    return f"{request.method} {request.path_url[:300]} {body[:300]!r}"


def _text(answer: Response) -> str:
    return answer.content[:500].decode("utf-8", "replace")
