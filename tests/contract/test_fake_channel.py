"""The scripted channel keeps the contract of the real one, and does what a script says."""

import asyncio
from typing import Literal

import pytest

from flowhq.errors import MisconfiguredError, SendRefusedError, SendUnknownError
from flowhq.events import EventsDropped, MessageSeen, Ready
from flowhq.model import Ack, Jid, MessageId
from tests.contract.channel_contract import CUSTOMER, ID, ChannelContract, listening, outbound
from tests.fakes.channel import FakeChannel


class FakeStage:
    def __init__(self, channel: FakeChannel) -> None:
        self.fake = channel
        self.channel = channel

    async def pair(self) -> None:
        self.fake.show_qr()
        self.fake.ready()

    async def receive(self, text: str, *, chat: Jid = CUSTOMER, from_me: bool = False) -> str:
        return self.fake.receive(text, chat=chat, from_me=from_me).message_id

    async def answer_sends(self, how: Literal["ok", "refuse", "hold"]) -> None:
        self.fake.send_mode = "refuse_for_now" if how == "refuse" else how
        if how == "ok":
            self.fake.release()

    async def acknowledge(self, message_id: MessageId, ack: Ack) -> None:
        self.fake.acknowledge(message_id, ack)

    async def sent(self) -> list[tuple[str, str]]:
        return [(message.client_id, message.text) for message in self.fake.sent]

    async def break_page(self) -> None:
        self.fake.crash()


class TestFakeChannel(ChannelContract):
    @pytest.fixture
    async def stage(self) -> FakeStage:
        channel = FakeChannel()
        await channel.open()
        return FakeStage(channel)


async def test_planned_outcomes_are_used_up_one_by_one() -> None:
    channel = FakeChannel()
    await channel.open()
    channel.plan_sends("refuse", "lose", "lose_answer")
    with pytest.raises(SendRefusedError) as refused:
        await channel.send(outbound())
    assert not refused.value.retry
    with pytest.raises(SendUnknownError):
        await channel.send(outbound())
    assert await channel.look_up(CUSTOMER, ID) is None
    with pytest.raises(SendUnknownError):
        await channel.send(outbound())
    assert await channel.look_up(CUSTOMER, ID) == Ack.SERVER
    await channel.send(outbound())
    assert (len(channel.calls), len(channel.sent)) == (4, 1)


async def test_a_send_can_be_held_back_by_the_test() -> None:
    channel = FakeChannel()
    await channel.open()
    channel.before_send = asyncio.Event()
    sending = asyncio.ensure_future(channel.send(outbound()))
    await asyncio.sleep(0)
    assert channel.sent == []
    channel.before_send.set()
    await sending
    assert len(channel.sent) == 1


async def test_a_full_buffer_tells_how_much_it_dropped() -> None:
    channel = FakeChannel(buffer=3)
    await channel.open()
    for n in range(5):
        channel.receive(f"m{n}")
    async with listening(channel) as listener:
        await listener.heard(MessageSeen, 3)
        channel.ready()
        await listener.heard(Ready)
    assert listener.all_of(EventsDropped) == [EventsDropped(2)]


async def test_an_open_that_fails_fails_once() -> None:
    channel = FakeChannel()
    channel.fail_open(MisconfiguredError("No Chromium was found."))
    with pytest.raises(MisconfiguredError):
        await channel.open()
    await channel.open()
