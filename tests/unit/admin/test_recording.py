"""What an audit entry says of a change: each field that differs, and nothing that must not stay."""

import asyncio

import pytest
from aiohttp import web

from flowhq.admin.recording import (
    CHANGES_MAX,
    VALUE_MAX,
    Trace,
    differences,
    record_change,
    record_success,
    target_of,
)
from flowhq.db.audit import Change, NewEntry
from flowhq.errors import StoreUnavailableError, WrongStateError
from tests.fakes.admin import FakeAudit

ENTRY = NewEntry("user:asha", "192.0.2.7", "req-1", "POST", "pause_tenant")


def test_only_what_differs_is_told_by_its_path() -> None:
    before = {"name": "A", "details": {"services": [{"name": "x", "price": 1}], "open": True}}
    after = {"name": "A", "details": {"services": [{"name": "x", "price": 2}], "open": True}}
    assert differences(before, after) == [Change("details.services[0].price", 1, 2)]
    assert differences(after, after) == []


def test_what_appears_and_what_goes_have_nothing_on_the_other_side() -> None:
    assert differences({}, {"role": "viewer"}) == [Change("role", None, "viewer")]
    assert differences({"a": [1, 2]}, {"a": [1]}) == [Change("a[1]", 2, None)]
    assert differences({"hours": None}, {"hours": {"mon": []}}) == [
        Change("hours.mon", None, "[]"),
    ]


def test_secrets_and_texts_are_hidden_and_numbers_shortened() -> None:
    changes = differences(
        {},
        {
            "password": "karibu",
            "token": "fhq_x",
            "message_text": "siri",
            "phone_number": "+255712345678",
            "note": "call 255712345678",
        },
    )
    told = str(changes)
    for hidden in ("karibu", "fhq_x", "siri", "712345"):
        assert hidden not in told
    assert {change.field for change in changes} >= {"password", "token", "phone_number"}


def test_long_values_and_many_fields_are_cut() -> None:
    (change,) = differences({"a": "x" * 5000}, {"a": None})
    assert len(change.before) == VALUE_MAX + 1
    many = differences({}, {f"k{n}": n for n in range(CHANGES_MAX + 7)})
    assert len(many) == CHANGES_MAX + 1
    assert many[-1].after == "7 more fields"


def test_a_target_has_the_ids_of_the_path_but_nothing_that_opens_something() -> None:
    an_id = "5d1f7c0e-52a5-4d6e-9f53-0d2f6c1f3f7a"
    parts = {"tenant_id": "t", "chat": "c", "pairing_token": "s3cret", "message": "m" * 900}
    assert target_of(parts | {"token": an_id}) == {
        "token": an_id,
        "chat": "c",
        "pairing_token": "[hidden]",
        "message": "m" * VALUE_MAX,
    }
    assert target_of({"message": "a\0b\udcff"}) == {"message": "a\\0b?"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (WrongStateError("It does not fit."), 409),
        (StoreUnavailableError("The database is away."), 503),
        (RuntimeError("a bug"), 500),
        (asyncio.CancelledError(), None),
    ],
)
async def test_an_entry_tells_how_its_change_ended(
    error: BaseException, status: int | None
) -> None:
    book = FakeAudit()

    async def work() -> web.StreamResponse:
        assert [row.status for row in book.entries.values()] == [None]
        raise error

    with pytest.raises(type(error)):
        await record_change(book, ENTRY, Trace(), work)
    assert [row.status for row in book.entries.values()] == [status]


async def test_a_route_that_is_open_to_all_is_entered_under_the_name_it_found() -> None:
    book, trace = FakeAudit(), Trace()

    def entry_of(principal: str) -> NewEntry:
        return NewEntry(principal, "192.0.2.7", "req-1", "POST", "log_in")

    async def let_in() -> web.StreamResponse:
        trace.principal = "user:asha"
        return web.Response(status=201)

    async def turn_away() -> web.StreamResponse:
        return web.Response(status=401)

    await record_success(book, entry_of, trace, turn_away)
    assert book.entries == {}
    await record_success(book, entry_of, trace, let_in)
    (row,) = book.entries.values()
    assert (row.entry.principal, row.status) == ("user:asha", 201)
