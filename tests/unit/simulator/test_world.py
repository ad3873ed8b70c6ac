"""The state as a whole, without sockets: linking, history, drops, held sends."""

from typing import Any

import pytest

from flowhq.simulator.accounts import Device, Send
from flowhq.simulator.clock import SimClock
from flowhq.simulator.pairing import PageKeys
from flowhq.simulator.traffic import UnknownMessage, Written
from flowhq.simulator.world import Owner, PastMessage, UnknownAccount, World

PHONE, ASHA = "255700000001", "255711111111"
KEYS = PageKeys(b"n" * 32, b"i" * 32, "0" * 64)


class WireStub:
    """A page that only notes what it is told."""

    number = 1

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.device: Device | None = None
        self.closed: list[tuple[int, bool]] = []

    def paired(self, device: Device) -> None:
        self.device = device
        device.wire = self

    def push(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)

    def wake(self) -> None:
        """The queue is looked at by the test itself."""

    def remove(self, reason: int) -> None:
        self.frames.append({"k": "removed", "reason": reason})

    def hold_back(self) -> None:
        self.frames.append({"k": "conflict"})

    def close(self, code: int, reason: str, *, hard: bool = False) -> None:
        self.closed.append((code, hard))


class Time:
    """Wall clock and monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def world(time: Time) -> World:
    return World(SimClock(time), monotonic=time)


def link(world: World, owner: Owner | None = None) -> tuple[WireStub, Device]:
    wire = WireStub()
    world.wires.add(wire)
    live = world.refs.issue(wire, KEYS, 20.0, 0, "")
    return wire, world.scan_on_show(live.ref, None, owner or Owner(PHONE))


def message(text: str = "karibu", message_id: str = "3EB001") -> dict[str, Any]:
    return {"id": message_id, "chat": f"{ASHA}@c.us", "type": "chat", "body": text}


def test_an_account_begins_with_its_first_scan_and_keeps_name_and_lid(world: World) -> None:
    with pytest.raises(UnknownAccount):
        world.account(PHONE)
    link(world, Owner(PHONE, name="Duka", lid="1999"))
    link(world, Owner(PHONE))
    account = world.account(PHONE)
    assert (account.name, account.lid, len(account.devices)) == ("Duka", "1999", 2)
    link(world, Owner(PHONE, name="Duka Jipya"))
    assert (account.name, account.lid) == ("Duka Jipya", "1999")


def test_history_without_times_ends_just_before_now_in_order(world: World, time: Time) -> None:
    past = tuple(PastMessage(ASHA, str(n)) for n in range(3))
    _, device = link(world, Owner(PHONE, history=past))
    times = [frame["t"] for frame in device.history]
    assert times == sorted(times)
    assert times[-1] < time.now
    assert len({frame["id"] for frame in device.history}) == 3


def test_a_new_device_gets_the_accounts_own_past_when_that_is_on(world: World) -> None:
    _, first = link(world)
    world.traffic.write(world.account(PHONE), Written(ASHA, "habari"))
    world.traffic.send(first, world.account(PHONE), Send(first.id, message()))
    assert link(world)[1].history == []
    world.configure({"history_sync": 10})
    history = link(world)[1].history
    assert [(frame["body"], frame["from_me"]) for frame in history] == [
        ("habari", False),
        ("karibu", True),
    ]


def test_a_drop_lasts_its_seconds_for_all_or_one(world: World, time: Time) -> None:
    (wire, _), (other, _) = link(world), link(world, Owner("255700000002"))
    account, second = world.account(PHONE), world.account("255700000002")
    assert world.drop(10, hard=True, account=account) == 1
    assert (wire.closed, other.closed) == ([(4503, True)], [])
    assert (world.away_for_s(), world.away_for_s(account), world.away_for_s(second)) == (0, 10, 0)
    assert world.drop(5, hard=False) == 2
    assert (world.away_for_s(), world.away_for_s(account)) == (5, 10)
    time.now += 6
    assert (world.away_for_s(), world.away_for_s(account)) == (0, 4)
    world.restore()
    assert world.away_for_s(account) == 0


def test_moving_the_simulators_clock_leaves_a_drop_alone(world: World) -> None:
    world.drop(10, hard=False)
    world.clock.set_offset(3600)
    assert world.away_for_s() == 10


def test_held_sends_of_an_unlinked_device_still_count_when_released(world: World) -> None:
    wire, device = link(world)
    world.configure({"send": "hold"})
    world.traffic.send(device, world.account(PHONE), Send(device.id, message()))
    world.unlink(device)
    world.configure({"send": "ok"})
    assert [entry["id"] for entry in world.account(PHONE).outbox.since(0)] == ["3EB001"]
    assert [frame["k"] for frame in wire.frames] == ["removed"]


def test_other_settings_release_nothing(world: World) -> None:
    _, device = link(world)
    world.configure({"send": "hold"})
    world.traffic.send(device, world.account(PHONE), Send(device.id, message()))
    world.configure({"qr_ttl": 5.0})
    assert len(world.account(PHONE).held) == 1
    world.configure({"send": "hold"})
    assert len(world.account(PHONE).held) == 1


def test_a_receipt_needs_a_message(world: World) -> None:
    link(world)
    with pytest.raises(UnknownMessage):
        world.traffic.receipt(world.account(PHONE), "3EB001", 2)


def test_reset_leaves_nothing_behind(world: World) -> None:
    wire, _ = link(world)
    world.configure({"send": "hold"})
    world.clock.set_offset(60)
    world.drop(60, hard=True)
    world.reset()
    assert (world.accounts, world.devices, world.settings.send) == ({}, {}, "ok")
    assert (world.clock.offset_s, world.away_for_s(), world.hard_drop) == (0, 0, False)
    assert wire.closed[-1] == (4503, False)
