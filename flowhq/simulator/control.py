"""The control API: what tests, the phone page and people with curl ask of the simulator.

Every call is `/control/<name>`, POST with a JSON object or GET with a query; the answer is JSON.
docs/simulator.md is its reference.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from flowhq.simulator import ids
from flowhq.simulator.accounts import Account, Contact
from flowhq.simulator.fields import FieldError, Fields
from flowhq.simulator.pairing import MalformedCode, ScannedCode, ScanRefused
from flowhq.simulator.ring import RingLog
from flowhq.simulator.settings import read_changes
from flowhq.simulator.sockets import WORLD
from flowhq.simulator.traffic import QueueFull, UnknownMessage, Written
from flowhq.simulator.world import Owner, PastMessage, TooMany, UnknownAccount, World

Answer = dict[str, Any]
Call = Callable[[World, Fields], Awaitable[Answer]]

WAIT_MAX_S = 60.0
CONTACTS_MAX = 20_000
HISTORY_MAX = 50_000
EXTRA_MAX_BYTES = 256 * 1024
LATEST_T = 253_402_300_799
MESSAGE_ID_PATTERN = r"[A-Za-z0-9_.:=+/-]{1,128}"


class NotFound(Exception):
    """What the call names does not exist."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


async def reset(world: World, fields: Fields) -> Answer:
    fields.finish()
    world.reset()
    return {"ok": True}


async def config(world: World, fields: Fields) -> Answer:
    world.configure(read_changes(fields))
    return world.settings.as_json()


async def clock(world: World, fields: Fields) -> Answer:
    limit_s = 20 * 366 * 86_400.0
    offset_s = fields.number("offset_s", -limit_s, limit_s)
    advance_s = fields.number("advance_s", -limit_s, limit_s)
    fields.finish()
    if offset_s is not None and advance_s is not None:
        raise fields.error("advance_s", "cannot go with offset_s")
    if offset_s is not None or advance_s is not None:
        current_s = world.clock.offset_s
        world.clock.set_offset(current_s + (advance_s or 0.0) if offset_s is None else offset_s)
    return {"ok": True, "offset_s": world.clock.offset_s, "now": world.clock.now()}


async def state(world: World, fields: Fields) -> Answer:
    fields.finish()
    devices = [_device_json(world, account) for account in world.accounts.values()]
    return {
        "cfg": world.settings.as_json(),
        "now": world.clock.now(),
        "clock_offset_s": world.clock.offset_s,
        "dropped_for_s": world.away_for_s(),
        "pages": len(world.wires),
        "refs": [
            {
                "page": live.page.number,
                "ref": live.ref,
                "index": live.index,
                "expires_in_s": round(live.expires_at - world.clock.now(), 3),
                "user_agent": live.user_agent,
            }
            for live in world.refs.on_show()
        ],
        "accounts": [
            {
                "phone": account.phone,
                "lid": account.lid,
                "name": account.name,
                "devices": linked,
                "outbox": account.outbox.last,
                "reads": account.reads.last,
                "held": len(account.held),
                "contacts": len(account.contacts),
                "dropped_for_s": world.away_for_s(account),
            }
            for account, linked in zip(world.accounts.values(), devices, strict=True)
        ],
        "devices": [device for linked in devices for device in linked],
        "events": world.events.last,
    }


def _device_json(world: World, account: Account) -> list[Answer]:
    return [
        {
            "id": device.id,
            "phone": account.phone,
            "online": device.wire is not None,
            "queued": device.queued,
            "overflowed": device.overflowed,
            "linked_at": device.linked_at,
        }
        for device in account.devices.values()
    ]


def _read_contact(item: Fields) -> Contact:
    contact = Contact(item.need_phone("phone"), item.name("name") or "", item.lid("lid"))
    item.finish()
    return contact


def _read_past(item: Fields) -> PastMessage:
    past = PastMessage(
        item.need_phone("with"),
        item.need_text("text"),
        item.whole("t", 0, LATEST_T),
        item.flag("from_me") or False,
    )
    item.finish()
    return past


def _read_owner(fields: Fields) -> Owner:
    return Owner(
        phone=fields.need_phone("phone"),
        name=fields.name("name"),
        lid=fields.lid("lid"),
        contacts=tuple(map(_read_contact, fields.items("contacts", CONTACTS_MAX) or ())),
        history=tuple(map(_read_past, fields.items("history", HISTORY_MAX) or ())),
    )


async def scan(world: World, fields: Fields) -> Answer:
    text = fields.need_text("qr", max_chars=10_000)
    owner = _read_owner(fields)
    fields.finish()
    try:
        code = ScannedCode.parse(text)
    except MalformedCode as error:
        raise fields.error("qr", str(error)) from None
    device = world.scan(code, owner)
    return {"ok": True, "device": device.id, "lid": world.account(owner.phone).lid}


async def scan_live(world: World, fields: Fields) -> Answer:
    ref = fields.text("ref", max_chars=1000)
    page = fields.whole("page", 1, 2**53)
    owner = _read_owner(fields)
    fields.finish()
    device = world.scan_on_show(ref, page, owner)
    return {"ok": True, "device": device.id, "lid": world.account(owner.phone).lid}


async def contacts(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    items = fields.items("contacts", CONTACTS_MAX)
    if items is None:
        raise fields.error("contacts", "is required")
    new = [_read_contact(item) for item in items]
    fields.finish()
    world.add_contacts(account, new)
    return {"ok": True, "contacts": len(account.contacts)}


async def message(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    kind = fields.text("type", pattern=r"[a-z][a-z0-9_]{0,39}") or "chat"
    text = fields.need_text("text") if kind == "chat" else fields.text("text") or ""
    written = Written(
        customer=fields.need_phone("from"),
        text=text,
        name=fields.name("name"),
        lid=fields.lid("lid"),
        group=fields.group("group"),
        from_me=fields.flag("from_me") or False,
        type=kind,
        t=fields.whole("t", 0, LATEST_T),
        id=fields.text("id", pattern=MESSAGE_ID_PATTERN),
        extra=fields.mapping("extra", EXTRA_MAX_BYTES),
    )
    fields.finish()
    sent_at = world.clock.now()
    frame = world.traffic.write(account, written)
    return {
        "ok": True,
        "id": frame["id"],
        "chat": frame["chat"],
        "t": frame["t"],
        "sent_at": sent_at,
    }


async def _poll(log: RingLog, fields: Fields) -> list[Answer]:
    after = fields.whole("after", -1, 2**53) or 0
    wait_s = min(fields.number("wait", 0, 86_400) or 0.0, WAIT_MAX_S)
    limit = fields.whole("limit", 1, 1_000_000)
    fields.finish()
    return await log.wait_since(after, wait_s, limit) if wait_s else log.since(after, limit)


async def outbox(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    return {"messages": await _poll(account.outbox, fields), "last": account.outbox.last}


async def reads(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    return {"reads": await _poll(account.reads, fields), "last": account.reads.last}


async def events(world: World, fields: Fields) -> Answer:
    found = await _poll(world.events, fields)
    # After a reset there is a new log: its `last` tells the caller to begin again.
    return {"events": found, "last": world.events.last}


async def receipt(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    message_id = ids.bare_message_id(fields.need_text("id", max_chars=256))
    ack = fields.whole("ack", 2, 3)
    fields.finish()
    if ack is None:
        raise fields.error("ack", "is required")
    try:
        sent = world.traffic.receipt(account, message_id, ack)
    except UnknownMessage:
        raise NotFound("id", "no linked device of this account sent it") from None
    return {"ok": True, "id": sent.id, "chat": sent.chat, "ack": ack}


async def drop(world: World, fields: Fields) -> Answer:
    seconds = fields.number("seconds", 0, 86_400)
    hard = fields.flag("hard") or False
    phone = fields.phone("phone")
    fields.finish()
    if seconds is None:
        raise fields.error("seconds", "is required")
    account = None if phone is None else world.account(phone)
    return {"ok": True, "closed": world.drop(seconds, hard=hard, account=account)}


async def restore(world: World, fields: Fields) -> Answer:
    phone = fields.phone("phone")
    fields.finish()
    world.restore(None if phone is None else world.account(phone))
    return {"ok": True}


async def conflict(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    fields.finish()
    wires = [device.wire for device in account.devices.values() if device.wire is not None]
    for wire in wires:
        wire.hold_back()
    return {"ok": True, "pages": len(wires)}


async def reload(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    fields.finish()
    wires = [device.wire for device in account.devices.values() if device.wire is not None]
    for wire in wires:
        wire.push({"k": "reload"})
    return {"ok": True, "pages": len(wires)}


async def logout(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    device_id = fields.text("device", max_chars=64)
    reason = fields.whole("reason", 0, 1000) or 0
    fields.finish()
    if device_id is not None and device_id not in account.devices:
        raise NotFound("device", "is not linked to this account")
    gone = [d for d in account.devices.values() if device_id in (None, d.id)]
    for device in gone:
        world.unlink(device, reason)
    return {"ok": True, "removed": [device.id for device in gone]}


async def chats(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    limit = fields.whole("limit", 1, 1000) or 200
    fields.finish()
    now = world.clock.now()
    return {"chats": [chat.as_json(1, now) for chat in account.conversations.newest(limit)]}


async def chat(world: World, fields: Fields) -> Answer:
    account = world.account(fields.need_phone("phone"))
    key = fields.group("with") if "@" in str(fields.value("with")) else fields.phone("with")
    limit = fields.whole("limit", 1, 500) or 200
    fields.finish()
    if key is None:
        raise fields.error("with", "is required")
    found = account.conversations.find(key)
    if found is None:
        return {"with": key, "name": "", "typing": "", "messages": []}
    return found.as_json(limit, world.clock.now())


CALLS: dict[str, Call] = {
    call.__name__: call
    for call in (
        reset,
        config,
        clock,
        state,
        scan,
        scan_live,
        contacts,
        message,
        outbox,
        reads,
        receipt,
        drop,
        restore,
        conflict,
        reload,
        logout,
        events,
        chats,
        chat,
    )
}


async def serve(request: web.Request) -> web.Response:
    """GET or POST /control/<name>"""
    name = request.match_info["name"]
    call = CALLS.get(name)
    if call is None:
        known = ", ".join(CALLS)
        return _problem(404, f"there is no call {name[:60]!r}; there are {known}")
    # A page of some other site must not command the simulator of whoever looks at it.
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return _problem(403, "the control API does not answer other sites' pages")
    try:
        return _json(200, await call(request.app[WORLD], await _fields(request)))
    except FieldError as error:
        return _problem(400, str(error), error.field)
    except UnknownAccount as error:
        return _problem(404, f"no account {error} (accounts begin with a scan)", "phone")
    except NotFound as error:
        return _problem(404, f"{error.field}: {error}", error.field)
    except ScanRefused as error:
        return _problem(200, str(error))
    except QueueFull as error:
        return _problem(429, f"the queue of device {error} is full")
    except TooMany as error:
        return _problem(429, str(error))


async def _fields(request: web.Request) -> Fields:
    if request.method == "GET":
        return Fields(request.query, from_query=True)
    body = await request.read()
    if not body.strip():
        return Fields({})
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FieldError("body", f"is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise FieldError("body", "must be a JSON object")
    return Fields(raw)


def _json(status: int, answer: Answer) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE),
        content_type="application/json",
    )


def _problem(status: int, problem: str, field: str | None = None) -> web.Response:
    answer: Answer = {"ok": False, "error": problem}
    return _json(status, answer if field is None else {**answer, "field": field})
