"""The control API's manners: bad input is named, unknown things are 404, nothing is half done."""

import asyncio
import io
from typing import Any

import pytest

from flowhq.simulator import control
from tests.integration.simulator.conftest import Bench
from tests.integration.simulator.fake_page import FakePage

PHONE = "255700000001"
ASHA = "255711111111"
MESSAGE = {"phone": PHONE, "from": ASHA, "text": "x"}

NEEDS_ACCOUNT = [
    "message",
    "outbox",
    "reads",
    "receipt",
    "conflict",
    "reload",
    "logout",
    "chats",
    "chat",
    "contacts",
]

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("reset", {"really": True}, "really"),
    ("state", {"phone": PHONE}, "phone"),
    ("config", {"qr_ttl": "5"}, "qr_ttl"),
    ("config", {"qr_ttl": 0}, "qr_ttl"),
    ("config", {"qr_ttl": True}, "qr_ttl"),
    ("config", {"qr_tll": 5}, "qr_tll"),
    ("config", {"qr_max": 1.5}, "qr_max"),
    ("config", {"qr_max": -1}, "qr_max"),
    ("config", {"send": "Hold"}, "send"),
    ("config", {"send": 1}, "send"),
    ("config", {"csp": "yes"}, "csp"),
    ("config", {"drop_modules": [1]}, "drop_modules"),
    ("config", {"drop_modules": "WAWebCmd"}, "drop_modules"),
    ("config", {"sync_delay_ms": 10**9}, "sync_delay_ms"),
    ("clock", {"advance_s": 1, "offset_s": 1}, "advance_s"),
    ("clock", {"advance_s": "soon"}, "advance_s"),
    ("clock", {"offset_s": 1e300}, "offset_s"),
    ("scan", {"phone": PHONE}, "qr"),
    ("scan", {"qr": 7, "phone": PHONE}, "qr"),
    ("scan", {"qr": "x" * 10_001, "phone": PHONE}, "qr"),
    ("scan", {"qr": "a,b,c,d"}, "phone"),
    ("scan", {"qr": "a,b,c,d", "phone": "12"}, "phone"),
    ("scan", {"qr": "a,b,c,d", "phone": "call me"}, "phone"),
    ("scan", {"qr": "a,b,c,d", "phone": True}, "phone"),
    ("scan", {"qr": "a,b,c,d", "phone": PHONE, "lid": "abc"}, "lid"),
    ("scan", {"qr": "a,b,c,d", "phone": PHONE, "name": "x" * 10_001}, "name"),
    ("scan", {"qr": "a,b,c,d", "phone": PHONE, "contacts": {}}, "contacts"),
    ("scan", {"qr": "a,b,c,d", "phone": PHONE, "contacts": [7]}, "contacts[0]"),
    ("scan", {"qr": "a,b,c,d", "phone": PHONE, "contacts": [{}]}, "contacts[0].phone"),
    (
        "scan",
        {"qr": "a,b,c,d", "phone": PHONE, "history": [{"with": ASHA}]},
        "history[0].text",
    ),
    (
        "scan",
        {"qr": "a,b,c,d", "phone": PHONE, "history": [{"with": ASHA, "text": "x", "T": 1}]},
        "history[0].T",
    ),
    ("scan_live", {}, "phone"),
    ("message", {"phone": PHONE, "from": ASHA}, "text"),
    ("message", {"phone": PHONE, "text": "x"}, "from"),
    ("message", {**MESSAGE, "from": "Asha"}, "from"),
    ("message", {**MESSAGE, "from": ["255"]}, "from"),
    ("message", {**MESSAGE, "text": 7}, "text"),
    ("message", {**MESSAGE, "text": "x" * 65_537}, "text"),
    ("message", {**MESSAGE, "t": -1}, "t"),
    ("message", {**MESSAGE, "t": 10**15}, "t"),
    ("message", {**MESSAGE, "id": "a b"}, "id"),
    ("message", {**MESSAGE, "id": ""}, "id"),
    ("message", {**MESSAGE, "type": "Image!"}, "type"),
    ("message", {**MESSAGE, "from_me": "no"}, "from_me"),
    ("message", {**MESSAGE, "group": "family"}, "group"),
    ("message", {**MESSAGE, "extra": []}, "extra"),
    ("message", {**MESSAGE, "extra": {"x": "y" * 300_000}}, "extra"),
    ("message", {**MESSAGE, "nmae": "Asha"}, "nmae"),
    ("outbox", {"phone": PHONE, "after": -2}, "after"),
    ("outbox", {"phone": PHONE, "wait": -1}, "wait"),
    ("outbox", {"phone": PHONE, "wait": "long"}, "wait"),
    ("outbox", {"phone": PHONE, "limit": 0}, "limit"),
    ("receipt", {"phone": PHONE, "id": "x"}, "ack"),
    ("receipt", {"phone": PHONE, "id": "x", "ack": 1}, "ack"),
    ("receipt", {"phone": PHONE, "ack": 2}, "id"),
    ("drop", {}, "seconds"),
    ("drop", {"seconds": -1}, "seconds"),
    ("drop", {"seconds": 1, "hard": 1}, "hard"),
    ("logout", {"phone": PHONE, "reason": "x"}, "reason"),
    ("contacts", {"phone": PHONE}, "contacts"),
    ("chat", {"phone": PHONE}, "with"),
    ("chat", {"phone": PHONE, "with": "x@y"}, "with"),
    ("events", {"after": "x"}, "after"),
]


@pytest.mark.parametrize(("call", "body", "field"), WRONG)
async def test_a_wrong_field_is_400_and_nothing_changes(
    bench: Bench, call: str, body: dict[str, Any], field: str
) -> None:
    await bench.linked()
    before = await bench.control("state")
    status, answer = await bench.ask(call, **body)
    assert (status, answer["ok"], answer["field"]) == (400, False, field)
    assert answer["error"].startswith(f"{field}: ")
    after = await bench.control("state")
    assert {**after, "now": 0} == {**before, "now": 0}


@pytest.mark.parametrize("call", NEEDS_ACCOUNT)
async def test_an_unknown_account_is_404(bench: Bench, call: str) -> None:
    body: dict[str, Any] = {"phone": "255799999999"}
    if call == "message":
        body |= {"from": ASHA, "text": "x"}
    status, answer = await bench.ask(call, **body)
    assert (status, answer["ok"], answer["field"]) == (404, False, "phone")


@pytest.mark.parametrize("call", ["drop", "restore"])
async def test_a_drop_of_an_unknown_account_is_404(bench: Bench, call: str) -> None:
    extra = {"seconds": 1} if call == "drop" else {}
    status, _ = await bench.ask(call, phone="255799999999", **extra)
    assert status == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b'{"a":NaN}', b"\0"])
@pytest.mark.parametrize("call", sorted(control.CALLS))
async def test_a_body_that_is_no_object_is_400(bench: Bench, call: str, body: bytes) -> None:
    async with bench.session.post(f"{bench.url}/control/{call}", data=body) as response:
        assert response.status == 400
        assert (await response.json())["field"] == "body"


async def test_a_body_that_is_too_large_is_413_in_json(bench: Bench) -> None:
    body = io.BytesIO(b'{"x":"' + b"y" * 33_600_000 + b'"}')
    async with bench.session.post(f"{bench.url}/control/state", data=body) as response:
        assert (response.status, (await response.json())["ok"]) == (413, False)


async def test_an_unknown_call_or_method_is_answered_in_json(bench: Bench) -> None:
    status, answer = await bench.ask("explode")
    assert status == 404
    assert "scan" in answer["error"]
    async with bench.session.delete(f"{bench.url}/control/state") as response:
        assert (response.status, (await response.json())["ok"]) == (405, False)


async def test_every_call_also_takes_a_query(bench: Bench) -> None:
    page = bench.page()
    _, answer = await bench.get(
        "scan",
        qr=await page.show_code(),
        phone=PHONE,
        contacts='[{"phone":"255711111111","name":"Asha"}]',
    )
    assert answer["ok"]
    await page.finish_pairing()
    await page.expect("offline_done")
    _, answer = await bench.get(
        "message", phone=PHONE, text="habari", t="1700000000", from_me="false", **{"from": ASHA}
    )
    assert answer["t"] == 1700000000
    assert (await page.receive())["msg"]["body"] == "habari"
    _, settings = await bench.get(
        "config", qr_ttl="2.5", csp="off", drop_modules="WAWebCmd, WAWebWid"
    )
    assert (settings["qr_ttl"], settings["csp"]) == (2.5, False)
    assert settings["drop_modules"] == ["WAWebCmd", "WAWebWid"]
    assert (await bench.get("config", drop_modules='["A"]'))[1]["drop_modules"] == ["A"]
    assert (await bench.get("outbox", phone=PHONE, after="0", wait="0.01"))[1]["messages"] == []


@pytest.mark.parametrize(
    ("call", "query", "field"),
    [
        ("config", {"qr_ttl": "soon"}, "qr_ttl"),
        ("config", {"qr_ttl": "nan"}, "qr_ttl"),
        ("config", {"csp": "maybe"}, "csp"),
        ("config", {"drop_modules": "[7"}, "drop_modules"),
        ("message", {**MESSAGE, "extra": "{"}, "extra"),
        ("outbox", {"phone": PHONE, "after": "1.5"}, "after"),
    ],
)
async def test_a_wrong_query_is_400_with_the_field(
    bench: Bench, call: str, query: dict[str, str], field: str
) -> None:
    await bench.linked()
    status, answer = await bench.get(call, **query)
    assert (status, answer["field"]) == (400, field)


async def test_hostile_texts_pass_through_as_they_are(bench: Bench) -> None:
    page = await bench.linked()
    for text in ("", "\0", "<script>alert(1)</script>", "\u202e abc", "🧨" * 1000, "a\r\n\tb"):
        await bench.control("message", **{**MESSAGE, "text": text, "name": text})
        message = (await page.receive())["msg"]
        assert (message["body"], message["notify"]) == (text, text)


async def test_a_partly_wrong_config_changes_nothing(bench: Bench) -> None:
    await bench.ask("config", qr_ttl=5, qr_max="x")
    assert (await bench.control("config"))["qr_ttl"] == 20


async def test_message_times_follow_the_clock(bench: Bench) -> None:
    await bench.linked()
    before = (await bench.control("message", **MESSAGE))["t"]
    assert (await bench.control("clock", advance_s=3600))["offset_s"] == 3600
    assert (await bench.control("clock", advance_s=3600))["offset_s"] == 7200
    assert (await bench.control("message", **MESSAGE))["t"] - before >= 7200
    assert (await bench.control("clock", offset_s=0))["offset_s"] == 0
    assert (await bench.control("message", **MESSAGE))["t"] - before < 3600


async def test_other_sites_pages_get_no_answer(bench: Bench) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with bench.session.post(f"{bench.url}/control/reset", headers=headers) as response:
        assert response.status == 403


async def test_a_full_queue_is_429_and_no_device_gets_the_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowhq.simulator.accounts.QUEUE_CAPACITY", 3)
    page, away = await bench.linked(), await bench.linked()
    await away.close()
    for _ in range(3):
        await bench.control("message", **MESSAGE)
        await page.receive()
    status, answer = await bench.ask("message", **MESSAGE)
    assert status == 429
    assert away.device is not None
    assert away.device in answer["error"]
    await page.say("ping")
    await page.expect("pong")


async def test_hundreds_of_messages_reach_their_pages_in_order(bench: Bench) -> None:
    pages = [await bench.linked(f"2557000000{n:02d}") for n in range(10)]

    async def read(page: FakePage) -> list[str]:
        return [(await page.receive())["msg"]["body"] for _ in range(50)]

    async with asyncio.TaskGroup() as group:
        # Meanwhile, so that the pages answer pings.
        reading = [group.create_task(read(page)) for page in pages]
        for n in range(500):
            await bench.control(
                "message", phone=f"2557000000{n % 10:02d}", text=str(n), **{"from": ASHA}
            )
    found = [task.result() for task in reading]
    assert found == [[str(n) for n in range(number, 500, 10)] for number in range(10)]
