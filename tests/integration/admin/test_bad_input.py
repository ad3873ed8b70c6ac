"""Every kind of bad input is a 4xx problem answer that names the field, and nothing changed."""

import asyncio
import io
from typing import Any

import pytest

from tests.fakes.admin import FakeFleet, FakeStore
from tests.fakes.clock import PATIENCE_S
from tests.integration.admin.conftest import Api

GOOD = {"name": "Mama Asha", "phone_number": "+255712345678"}
JSON = {"Content-Type": "application/json"}
DEEP = '{"details": ' + '{"a":' * 900 + "1" + "}" * 901
VERY_DEEP = "[" * 100_000
# A tenant's id that is no tenant's.
NOBODY = "5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a"

FIELDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("no name", {"name": None}, "name", "valid string"),
    ("a name of no characters", {"name": ""}, "name", "empty"),
    ("a name of spaces", {"name": " \t "}, "name", "empty"),
    ("a name of 10,000 characters", {"name": "x" * 10_000}, "name", "at most 120"),
    ("a name with a NUL", {"name": "Mama\0Asha"}, "name", "NUL"),
    ("a name of two lines", {"name": "Mama\nAsha"}, "name", "one line"),
    ("a name that is a number", {"name": 7}, "name", "valid string"),
    ("a name that is a list", {"name": ["x"]}, "name", "valid string"),
    ("a word as phone number", {"phone_number": "asha"}, "phone_number", "+255712345678"),
    ("a national phone number", {"phone_number": "0712345678"}, "phone_number", "+255712345678"),
    ("a number without plus", {"phone_number": "255712345678"}, "phone_number", "+255712345678"),
    ("a short phone number", {"phone_number": "+255712"}, "phone_number", "no phone number"),
    ("a long phone number", {"phone_number": "+2557" + "1" * 12}, "phone_number", "no phone"),
    ("an endless phone number", {"phone_number": "+" + "1" * 999}, "phone_number", "at most 40"),
    ("a number of no country", {"phone_number": "+999123456789"}, "phone_number", "country"),
    ("an extension", {"phone_number": "+255712345678 ext 5"}, "phone_number", "country code"),
    ("other digits", {"phone_number": "+255\uff1712345678"}, "phone_number", "country code"),
    ("a phone number in figures", {"phone_number": 255712345678}, "phone_number", "string"),
    ("an unknown template", {"template_type": "SALES"}, "template_type", "'SUPPORT'"),
    ("a template in small letters", {"template_type": "booking"}, "template_type", "'BOOKING'"),
    ("an unknown language", {"language": "FR"}, "language", "'SW'"),
    ("an unknown time zone", {"timezone": "Africa/Dodoma"}, "timezone", "time zone"),
    ("a path as time zone", {"timezone": "../../etc/passwd"}, "timezone", "time zone"),
    ("an empty business name", {"business_name": ""}, "business_name", "empty"),
    ("an unknown field", {"fone_number": "x"}, "fone_number", "Did you mean phone_number?"),
    ("hours that are a text", {"hours_json": "always"}, "hours_json", "JSON object"),
    ("an hour that is none", {"hours_json": {"weekly": {"mon": [["08:00", "25:00"]]}}},
     "hours_json.weekly.mon[0]", "25:00"),
    ("a day that is none", {"hours_json": {"weekly": {"mo": []}}}, "hours_json.weekly.mo", "mon"),
    ("hours of the eighth day", {"hours_json": {"8": None}}, "hours_json.8", "8"),
    ("overlapping hours",
     {"hours_json": {"weekly": {"mon": [["08:00", "12:00"], ["11:00", "13:00"]]}}},
     "hours_json.weekly.mon[1]", "before"),
    ("a NUL deep inside", {"details": {"services": [{"name": "a\0b"}]}},
     "details.services[0].name", "NUL"),
    ("a NUL in a key", {"details": {"a\0b": 1}}, "details.a\\0b", "NUL"),
    ("unknown details", {"details": {"servces": []}}, "details.servces", "services"),
    ("a service without name", {"details": {"services": [{"price": 5}]}},
     "details.services[0].name", ""),
    ("a price that is a text", {"details": {"services": [{"name": "Kusuka", "price": "x"}]}},
     "details.services[0].price", "number"),
    ("details that are a list", {"details": []}, "details", "JSON object"),
]  # fmt: skip
IDS = [case[0] for case in FIELDS]


@pytest.mark.parametrize(("_about", "fields", "field", "words"), FIELDS, ids=IDS)
async def test_a_new_tenant_is_refused(
    api: Api, store: FakeStore, _about: str, fields: dict[str, Any], field: str, words: str
) -> None:
    answer = await api.call("POST", "/admin/tenants", json=GOOD | fields)
    assert (answer.status, answer.kind, answer.fields) == (400, "invalid-input", [field])
    assert words in answer.body["errors"][0]["message"]
    assert store.tenants == {}


@pytest.mark.parametrize(("_about", "fields", "field", "words"), FIELDS, ids=IDS)
async def test_a_change_is_refused(
    api: Api,
    store: FakeStore,
    fleet: FakeFleet,
    _about: str,
    fields: dict[str, Any],
    field: str,
    words: str,
) -> None:
    tenant_id = await api.create()
    before = dict(store.tenants)
    answer = await api.call("PATCH", f"/admin/tenants/{tenant_id}", json=fields)
    assert (answer.status, answer.kind, answer.fields) == (400, "invalid-input", [field])
    assert words in answer.body["errors"][0]["message"]
    assert (store.tenants, fleet.calls) == (before, [])


@pytest.mark.parametrize("field", ["name", "phone_number", "timezone", "details", "business_name"])
async def test_null_does_not_mean_unchanged(api: Api, field: str) -> None:
    tenant_id = await api.create()
    answer = await api.call("PATCH", f"/admin/tenants/{tenant_id}", json={field: None})
    assert (answer.status, answer.fields) == (400, [field])


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        (
            {"hours_json": {"1": {"open": "8", "close": "18:00"}}},
            "hours_json.1.open",
            "'8' is not a time from 00:00 to 24:00.",
        ),
        ({"timezone": "Mars"}, "timezone", "must be a time zone such as 'Africa/Dar_es_Salaam'."),
        ({"hours_json": []}, "hours_json", "must be a JSON object."),
        (
            {"details": {"servces": []}},
            "details.servces",
            "has no setting 'servces'. Did you mean 'services'?",
        ),
        (
            {"hours_json": {"weekly": {"mond": []}}},
            "hours_json.weekly.mond",
            "has no setting 'mond'. Did you mean 'mon'?",
        ),
    ],
)
async def test_a_message_says_what_is_wrong_and_not_the_field_once_more(
    api: Api, fields: dict[str, Any], field: str, message: str
) -> None:
    answer = await api.call("POST", "/admin/tenants", json=GOOD | fields)
    assert answer.body["errors"] == [{"field": field, "message": message}]
    assert answer.body["detail"] == f"{field}: {message}"


async def test_every_mistake_is_told_at_once(api: Api) -> None:
    answer = await api.call(
        "POST", "/admin/tenants", json={"phone_number": "x", "languge": "SW", "timezone": "Mars"}
    )
    assert sorted(answer.fields) == ["languge", "name", "phone_number", "timezone"]
    assert "is required." in [error["message"] for error in answer.body["errors"]]


async def test_the_refused_values_are_not_told_back(api: Api) -> None:
    secret = "my-secret-value"
    answer = await api.call("POST", "/admin/tenants", json=GOOD | {"language": secret, "name": 1})
    assert answer.status == 400
    assert secret.encode() not in answer.raw


BODIES: list[tuple[str, bytes, str, str]] = [
    ("nothing", b"", "body", "empty"),
    ("no JSON", b"name=Asha", "body", "not JSON"),
    ("half a JSON", b'{"name": "Asha"', "body", "line 1"),
    ("not UTF-8", b'{"name": "\xff"}', "body", "not JSON"),
    ("half a surrogate", b'{"name": "\\ud800"}', "body", "not JSON"),
    ("a number that is none", b'{"name": NaN}', "body", "not JSON"),
    ("a number too large", b'{"name": 1e999}', "body", "not JSON"),
    ("a list", b"[]", "body", "object"),
    ("a text", b'"name"', "body", "object"),
    ("null", b"null", "body", "object"),
    ("a field given twice", b'{"name": "a", "name": "b"}', "name", "twice"),
    ("deep nesting", DEEP.encode(), "body", "deep"),
    ("bottomless nesting", VERY_DEEP.encode(), "body", "JSON"),
]


@pytest.mark.parametrize(
    ("_about", "body", "field", "words"), BODIES, ids=[case[0] for case in BODIES]
)
async def test_a_body_is_refused(
    api: Api, store: FakeStore, _about: str, body: bytes, field: str, words: str
) -> None:
    answer = await api.call("POST", "/admin/tenants", data=body, headers=JSON)
    assert (answer.status, answer.kind, answer.fields) == (400, "invalid-input", [field])
    assert words in answer.body["errors"][0]["message"]
    assert store.tenants == {}


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_2_mb_is_refused(api: Api, store: FakeStore, chunked: bool) -> None:
    body = b'{"name": "' + b"x" * 2_000_000 + b'"}'

    async def chunks() -> Any:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    data = chunks() if chunked else io.BytesIO(body)
    answer = await api.call("POST", "/admin/tenants", data=data, headers=JSON)
    assert (answer.status, answer.kind, answer.fields) == (413, "too-large", ["body"])
    assert store.tenants == {}


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=latin-1"],
)
async def test_another_type_of_body_is_refused(api: Api, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = await api.call("POST", "/admin/tenants", data=b"{}", headers=headers)
    assert (answer.status, answer.kind) == (415, "unsupported-media-type")
    assert "Content-Type: application/json" in answer.body["next_step"]


async def test_a_verb_takes_no_body(api: Api, fleet: FakeFleet) -> None:
    path = f"/admin/tenants/{await api.create()}/worker/start"
    answer = await api.call("POST", path, json={"force": True})
    assert (answer.status, answer.fields, fleet.calls) == (400, ["body"], [])
    assert (await api.call("POST", path, json={})).status == 200


UNKNOWN_IDS = [
    NOBODY,
    "1",
    "me",
    "%00",
    "..%2f..",
    "{12345678-1234-1234-1234-123456789012}",
    "123456781234123412341234567890ab",
    "12345678-1234-1234-1234-12345678901g",
    "x" * 2000,
]


@pytest.mark.parametrize("tenant_id", UNKNOWN_IDS)
@pytest.mark.parametrize(
    ("method", "below"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/qr"),
        ("GET", "/logs"),
        ("GET", "/events"),
    ],
)
async def test_an_unknown_id_is_not_found(
    api: Api, fleet: FakeFleet, tenant_id: str, method: str, below: str
) -> None:
    body = {"json": {"name": "New"}} if method == "PATCH" else {}
    answer = await api.call(method, f"/admin/tenants/{tenant_id}{below}", **body)
    assert (answer.status, answer.kind) == (404, "not-found")
    assert fleet.calls == []


QUERIES = [
    ("/logs?limit=-1", "limit", "greater than or equal to 1"),
    ("/logs?limit=0", "limit", "greater than or equal to 1"),
    ("/logs?limit=1001", "limit", "1000"),
    ("/logs?limit=ten", "limit", "integer"),
    ("/logs?limit=", "limit", "integer"),
    ("/logs?limit=1.5", "limit", "integer"),
    ("/logs?limit=" + "9" * 4000, "limit", ""),
    ("/logs?limit=5&limit=6", "limit", "twice"),
    ("/logs?limits=5", "limits", "Did you mean limit?"),
    ("/logs?before=", "before", "empty"),
    ("/logs?before=yesterday", "before", ""),
    ("/logs?before=%00", "before", "NUL"),
    ("/logs?before=%ff%fe", "before", ""),
    ("/events?limit=-1", "limit", "greater than or equal to 1"),
    ("/qr?wait=-1", "wait", "greater than or equal to 0"),
    ("/qr?wait=61", "wait", "60"),
    ("/qr?wait=nan", "wait", "finite"),
    ("/qr?wait=long", "wait", "number"),
    ("/qr?format=svg", "format", "'png'"),
    ("/qr?fromat=png", "fromat", "Did you mean format?"),
    ("?verbose=1", "verbose", "unknown"),
]


@pytest.mark.parametrize(("below", "field", "words"), QUERIES)
async def test_a_query_is_refused(api: Api, below: str, field: str, words: str) -> None:
    answer = await api.call("GET", f"/admin/tenants/{await api.create()}{below}")
    assert (answer.status, answer.kind, answer.fields) == (400, "invalid-input", [field])
    assert words in answer.body["errors"][0]["message"]


async def test_a_query_where_none_belongs_is_refused(api: Api, fleet: FakeFleet) -> None:
    path = f"/admin/tenants/{await api.create()}/worker/start?force=1"
    answer = await api.call("POST", path)
    assert (answer.status, answer.fields, fleet.calls) == (400, ["force"], [])


@pytest.mark.parametrize(
    "path", ["/", "/admin", "/admin/tenants/", "/admin/tenant", "/favicon.ico"]
)
async def test_an_unknown_address_is_not_found(api: Api, path: str) -> None:
    answer = await api.call("GET", path)
    assert (answer.status, answer.kind) == (404, "unknown-path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/admin/tenants", "GET, HEAD, POST"),
        ("OPTIONS", "/admin/tenants", "GET, HEAD, POST"),
        ("PUT", "/health", "GET, HEAD"),
        ("GET", f"/admin/tenants/{NOBODY}/worker/start", "POST"),
        ("TRACE", f"/admin/tenants/{NOBODY}", "DELETE, GET, HEAD, PATCH"),
    ],
)
async def test_a_wrong_method_names_the_right_ones(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = await api.call(method, path)
    assert (answer.status, answer.kind) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


async def test_a_request_that_is_no_http_gets_400_and_is_logged_without_its_bytes(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(api.base.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /?password=hunter22 x HTTP/9.9\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        status = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert b" 400 " in status
    assert "hunter22" not in caplog.text
