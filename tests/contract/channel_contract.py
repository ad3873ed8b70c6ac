"""What every channel must do, whoever plays the other side: one suite over the scripted channel
(test_fake_channel.py) and over the real one (tests/browser/test_web_channel_contract.py)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, TypeVar

import pytest

from flowhq.bot.ports import Channel
from flowhq.errors import ChannelRestartError, SendRefusedError, SendUnknownError
from flowhq.events import AckSeen, ChannelEvent, MessageSeen, Ready
from flowhq.model import (
    Ack,
    ChatKey,
    Jid,
    MessageId,
    MessageKind,
    OutboundMessage,
    OutboxId,
    OutboxState,
    Source,
)
from tests.fakes.clock import until

Event = TypeVar("Event", bound=ChannelEvent)

LIMIT_S = 60.0
CUSTOMER = Jid("255711111111@c.us")
OTHER = Jid("255722222222@c.us")
ID = MessageId("3EB0AABBCCDDEEFF0011")


class Stage(Protocol):
    """The other side of a channel: the phone, WhatsApp, and the page's bad luck."""

    channel: Channel

    async def pair(self) -> None:
        """A phone scans; Ready follows. The channel is open."""
        ...

    async def receive(self, text: str, *, chat: Jid = CUSTOMER, from_me: bool = False) -> str:
        """A customer (or the owner at the phone) writes; the message's id."""
        ...

    async def answer_sends(self, how: Literal["ok", "refuse", "hold"]) -> None:
        """From now on; ``ok`` also lets go what was held."""
        ...

    async def acknowledge(self, message_id: MessageId, ack: Ack) -> None: ...

    async def sent(self) -> list[tuple[str, str]]:
        """Id and text of what reached the other side, in order."""
        ...

    async def break_page(self) -> None:
        """The page is no use any more; nobody has told the channel."""
        ...


class Listener:
    """Reads a channel's events, as its one reader."""

    def __init__(self, channel: Channel) -> None:
        self.events: list[ChannelEvent] = []
        self.ended = asyncio.Event()
        self.error: ChannelRestartError | None = None
        self._task = asyncio.create_task(self._read(channel))

    async def _read(self, channel: Channel) -> None:
        try:
            async for event in channel.events():
                self.events.append(event)
        except ChannelRestartError as error:
            self.error = error
        self.ended.set()

    def all_of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def heard(self, kind: type[Event], count: int = 1) -> list[Event]:
        await until(
            lambda: len(self.all_of(kind)) >= count, f"{count} {kind.__name__}", within_s=LIMIT_S
        )
        return self.all_of(kind)

    async def end(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self._task


@contextlib.asynccontextmanager
async def listening(channel: Channel) -> AsyncIterator[Listener]:
    listener = Listener(channel)
    try:
        yield listener
    finally:
        await channel.close()
        await listener.end()


def outbound(message_id: MessageId = ID, text: str = "Karibu") -> OutboundMessage:
    now = datetime.now(UTC)
    return OutboundMessage(
        outbox_id=OutboxId(1),
        chat_key=ChatKey(CUSTOMER),
        to=CUSTOMER,
        client_id=message_id,
        text=text,
        state=OutboxState.SENDING,
        attempts=1,
        due_at_monotonic=0.0,
        planned_at=now,
    )


class ChannelContract:
    """Inherit, and give a fixture ``stage`` whose channel is open and not yet paired."""

    async def test_events_come_in_the_order_in_which_they_happened(self, stage: Stage) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            (ready,) = await listener.heard(Ready)
            ids = [await stage.receive(f"m{n}") for n in range(5)]

            heard = await listener.heard(MessageSeen, 5)

            assert ready.document >= 1
            assert ready.phone.isdigit()
            assert [event.message.message_id for event in heard] == ids
            assert [event.message.text for event in heard] == [f"m{n}" for n in range(5)]
            assert listener.events.index(ready) < listener.events.index(heard[0])
            message = heard[0].message
            assert (message.chat, message.sender, message.from_me) == (CUSTOMER, CUSTOMER, False)
            assert (message.kind, message.source) == (MessageKind.TEXT, Source.LIVE)
            assert message.phone == "255711111111"
            assert message.at.tzinfo is not None

    async def test_what_the_owner_types_comes_as_own(self, stage: Stage) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            await stage.receive("mimi", from_me=True)
            (event,) = await listener.heard(MessageSeen)
            assert (event.message.from_me, event.message.chat) == (True, CUSTOMER)

    async def test_a_sent_message_arrives_under_its_id_and_is_echoed(self, stage: Stage) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()

            receipt = await stage.channel.send(outbound())

            assert (receipt.message_id, receipt.ack) == (ID, Ack.SERVER)
            assert await stage.sent() == [(ID, "Karibu")]
            assert await stage.channel.look_up(CUSTOMER, ID) == Ack.SERVER
            (echo,) = await listener.heard(MessageSeen)
            assert (echo.message.message_id, echo.message.from_me) == (ID, True)

    async def test_one_id_sent_twice_arrives_once(self, stage: Stage) -> None:
        async with listening(stage.channel):
            await stage.pair()
            await stage.channel.send(outbound())
            assert (await stage.channel.send(outbound())).message_id == ID
            assert await stage.sent() == [(ID, "Karibu")]

    async def test_a_refused_message_does_not_arrive_and_may_be_sent_again(
        self, stage: Stage
    ) -> None:
        async with listening(stage.channel):
            await stage.pair()
            await stage.answer_sends("refuse")
            with pytest.raises(SendRefusedError) as refused:
                await stage.channel.send(outbound())
            assert refused.value.retry
            assert await stage.sent() == []
            assert await stage.channel.look_up(CUSTOMER, ID) in (None, Ack.ERROR)

            await stage.answer_sends("ok")

            assert (await stage.channel.send(outbound())).ack == Ack.SERVER
            assert await stage.sent() == [(ID, "Karibu")]

    async def test_a_message_without_an_answer_is_unknown_and_can_be_looked_up(
        self, stage: Stage
    ) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            await stage.answer_sends("hold")
            with pytest.raises(SendUnknownError):
                await stage.channel.send(outbound())
            assert await stage.channel.look_up(CUSTOMER, ID) == Ack.PENDING

            await stage.answer_sends("ok")

            acks = await listener.heard(AckSeen)
            assert (acks[0].ids, acks[0].ack) == ((ID,), Ack.SERVER)
            assert await stage.channel.look_up(CUSTOMER, ID) == Ack.SERVER
            assert await stage.sent() == [(ID, "Karibu")]

    async def test_an_id_that_was_never_sent_is_not_found(self, stage: Stage) -> None:
        async with listening(stage.channel):
            await stage.pair()
            await stage.receive("Habari")
            assert await stage.channel.look_up(CUSTOMER, ID) is None
            assert await stage.channel.look_up(OTHER, ID) is None

    async def test_acks_are_told_and_kept(self, stage: Stage) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            await stage.channel.send(outbound())
            for ack in (Ack.DELIVERED, Ack.READ):
                await stage.acknowledge(ID, ack)

            await until(
                lambda: Ack.READ in {event.ack for event in listener.all_of(AckSeen)},
                "the last ack",
                within_s=LIMIT_S,
            )

            levels = [event.ack for event in listener.all_of(AckSeen) if ID in event.ids]
            assert levels == sorted(levels)
            assert await stage.channel.look_up(CUSTOMER, ID) == Ack.READ

    async def test_history_has_both_directions_oldest_first(self, stage: Stage) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            await stage.receive("moja")
            await listener.heard(MessageSeen)
            await stage.channel.send(outbound(text="mbili"))
            await stage.receive("elsewhere", chat=OTHER)
            heard = await listener.heard(MessageSeen, 3)

            found = await stage.channel.history(CUSTOMER, since=None, limit=10)

            assert [message.text for message in found] == ["moja", "mbili"]
            assert [message.from_me for message in found] == [False, True]
            assert {message.source for message in found} == {Source.CATCHUP}
            assert found[0].message_id == heard[0].message.message_id
            last = await stage.channel.history(CUSTOMER, since=None, limit=1)
            assert [message.text for message in last] == ["mbili"]
            later = max(message.at for message in found) + timedelta(seconds=5)
            assert list(await stage.channel.history(CUSTOMER, since=later, limit=10)) == []

    async def test_chats_are_those_that_were_written_in(self, stage: Stage) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            await stage.receive("moja")
            await stage.receive("mbili", chat=OTHER)
            await stage.receive("tatu", chat=OTHER)
            await listener.heard(MessageSeen, 3)

            heads = {head.chat: head for head in await stage.channel.chats()}

            assert set(heads) == {CUSTOMER, OTHER}
            assert heads[OTHER].phone == "255722222222"
            assert all(head.last_at is not None for head in heads.values())

    async def test_niceties_do_no_harm_in_a_chat_that_is_not_known(self, stage: Stage) -> None:
        async with listening(stage.channel):
            await stage.pair()
            await stage.channel.show_typing(OTHER, 0.1)
            await stage.channel.mark_read(OTHER)
            health = await stage.channel.probe()
            assert (health.connected, health.mode) == (True, "MAIN")

    async def test_a_broken_page_ends_the_events_after_what_was_heard_and_can_be_opened_again(
        self, stage: Stage
    ) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            await stage.receive("kabla")
            await listener.heard(MessageSeen)

            await stage.break_page()

            async with asyncio.timeout(LIMIT_S):
                await listener.ended.wait()
            assert isinstance(listener.error, ChannelRestartError)
            with pytest.raises(ChannelRestartError):
                await stage.channel.probe()
            with pytest.raises(ChannelRestartError):
                await stage.channel.send(outbound())
        await stage.channel.open()
        async with listening(stage.channel):
            found = await stage.channel.history(CUSTOMER, since=None, limit=10)
            assert [message.text for message in found] == ["kabla"]

    async def test_a_closed_channel_ends_its_events_and_refuses_calls(self, stage: Stage) -> None:
        async with listening(stage.channel) as listener:
            await stage.pair()
            await listener.heard(Ready)

            await stage.channel.close()
            await stage.channel.close()

            async with asyncio.timeout(LIMIT_S):
                await listener.ended.wait()
            assert listener.error is None
            with pytest.raises(ChannelRestartError):
                await stage.channel.send(outbound())
