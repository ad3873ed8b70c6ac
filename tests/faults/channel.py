"""A channel host whose pages are connections to the peer's process."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from flowhq.channel.web.buffer import EventBuffer
from flowhq.errors import ChannelRestartError, SendRefusedError, SendUnknownError
from flowhq.events import AckSeen, ChannelEvent, LoggedOut, MessageSeen, QrShown, Ready
from flowhq.figures import Usage
from flowhq.model import (
    Ack,
    ChatHead,
    Health,
    InboundMessage,
    Jid,
    MessageId,
    MessageKind,
    OutboundMessage,
    Reason,
    Rung,
    SendReceipt,
    Source,
    TenantId,
)
from tests.faults.peer import LINE_MAX_BYTES

READ_LIMIT_S = 30.0
KNOWN_MIN, KNOWN_MAX = 0, 253_402_300_799  # years 1970 and 9999


class PeerHost:
    """Makes channels to one peer; nothing of it is on the disk."""

    def __init__(
        self, socket: Path, *, send_timeout_s: float, probe_timeout_s: float, event_buffer: int
    ) -> None:
        self._socket = socket
        self._send_timeout_s = send_timeout_s
        self._probe_timeout_s = probe_timeout_s
        self._event_buffer = event_buffer

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    def channel(self, tenant_id: TenantId) -> "PeerChannel":
        return PeerChannel(
            str(tenant_id),
            self._socket,
            event_buffer=self._event_buffer,
            send_timeout_s=self._send_timeout_s,
            probe_timeout_s=self._probe_timeout_s,
        )

    async def forget_profile(self, tenant_id: TenantId) -> None:
        return

    async def measure(self) -> Mapping[TenantId, Usage]:
        return {}


class PeerChannel:
    """One page. What the peer tells of a crash, a lost connection included, ends it."""

    def __init__(
        self,
        tenant: str,
        socket: Path,
        *,
        event_buffer: int,
        send_timeout_s: float,
        probe_timeout_s: float,
    ) -> None:
        self._tenant = tenant
        self._socket = socket
        self._event_buffer = event_buffer
        self._buffer = EventBuffer(event_buffer)
        self._send_timeout_s = send_timeout_s
        self._probe_timeout_s = probe_timeout_s
        self._serial = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._fault: ChannelRestartError | None = None

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        await self.close()
        self._buffer = EventBuffer(self._event_buffer)
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=LINE_MAX_BYTES)
        except OSError as error:
            raise _gone("The peer is not there.") from error
        self._writer = writer
        self._fault = None
        self._write({"page": self._tenant})
        self._reading = asyncio.create_task(self._read(reader), name=f"page {self._tenant}")

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._buffer.close()

    async def kill(self) -> None:
        self._fail(_gone("The page was killed."))
        if self._writer is not None:
            self._writer.close()

    async def events(self) -> AsyncIterator[ChannelEvent]:
        async for event in self._buffer.read():
            yield event

    async def send(self, message: OutboundMessage) -> SendReceipt:
        given = {"to": message.to, "text": message.text, "id": message.client_id}
        self._check()
        try:
            answer = await self._ask("send", given, limit_s=self._send_timeout_s)
        except (ChannelRestartError, TimeoutError) as error:
            raise SendUnknownError("The page did not answer within the limit.") from error
        if "error" in answer:
            raise SendRefusedError("The platform refused.", retry=True)
        return SendReceipt(message.client_id, Ack(answer["ack"]))

    async def look_up(self, chat: Jid, client_id: MessageId) -> Ack | None:
        answer = await self._must("look_up", {"chat": chat, "id": client_id})
        return None if answer["ack"] is None else Ack(answer["ack"])

    async def history(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        start = None if since is None else int(since.timestamp())
        answer = await self._must("history", {"chat": chat, "since": start, "limit": limit})
        return [to_message(raw, Source.CATCHUP) for raw in answer["messages"]]

    async def chats(self) -> Sequence[ChatHead]:
        answer = await self._must("chats", {})
        return [
            ChatHead(Jid(raw["chat"]), to_time(raw["t"]), raw["phone"]) for raw in answer["chats"]
        ]

    async def mark_read(self, chat: Jid) -> None:
        self._check()

    async def show_typing(self, chat: Jid, seconds: float) -> None:
        self._check()

    async def probe(self) -> Health:
        answer = await self._must("probe", {}, limit_s=self._probe_timeout_s)
        connected = bool(answer["connected"])
        return Health(connected=connected, mode="MAIN" if connected else "QR", detail="")

    async def log_out(self) -> None:
        await self._must("log_out", {})

    # -- inside --------------------------------------------------------------------------------

    async def _must(
        self, call: str, given: dict[str, Any], *, limit_s: float = READ_LIMIT_S
    ) -> dict[str, Any]:
        self._check()
        try:
            return await self._ask(call, given, limit_s=limit_s)
        except TimeoutError:
            raise ChannelRestartError(
                f"The page did not answer {call!r}.", reason=Reason.PAGE_HUNG
            ) from None

    async def _ask(self, call: str, given: dict[str, Any], *, limit_s: float) -> dict[str, Any]:
        number = next(self._serial)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._write({"n": number, "call": call, **given})
        try:
            async with asyncio.timeout(limit_s):
                return await answer
        finally:
            self._answers.pop(number, None)

    def _write(self, line: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(orjson.dumps(line) + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self._take(orjson.loads(line))
        self._fail(_gone("The peer is gone."))

    def _take(self, told: dict[str, Any]) -> None:
        if "n" in told:
            answer = self._answers.get(told.pop("n"))
            if answer is not None and not answer.done():
                answer.set_result(told)
        elif "crashed" in told:
            self._fail(ChannelRestartError("The page crashed.", reason=Reason.PAGE_CRASHED))
        elif not self._buffer.put(to_event(told)):
            self._fail(_gone("Nobody reads the page's events."))

    def _fail(self, fault: ChannelRestartError) -> None:
        self._fault = self._fault or fault
        self._buffer.fail(fault)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(fault)

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault
        if self._writer is None:
            raise _gone("The channel is closed.")


def to_event(told: dict[str, Any]) -> ChannelEvent:
    match told:
        case {"message": raw}:
            return MessageSeen(to_message(raw, Source.LIVE), time.monotonic())
        case {"acked": ids, "ack": ack}:
            return AckSeen(tuple(ids), Ack(ack))
        case {"ready": document, "phone": phone, "lid": lid}:
            return Ready(phone, lid, document)
        case {"logged_out": reason}:
            return LoggedOut(reason)
        case {"qr": text}:
            return QrShown(text, None)
        case _:
            raise ValueError(f"the peer told something unknown: {sorted(told)}")


def to_message(raw: dict[str, Any], source: Source) -> InboundMessage:
    chat = Jid(raw["chat"])
    own = raw["from_me"]
    return InboundMessage(
        message_id=MessageId(raw["id"]),
        chat=chat,
        from_me=own,
        kind=MessageKind.TEXT,
        text=raw["text"],
        at=to_time(raw["t"]),
        source=source,
        sender=Jid("me@c.us") if own else chat,
        phone=raw["phone"],
        lid=raw["lid"],
        push_name="" if own else "Amina",
        raw_type="chat",
    )


def to_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, KNOWN_MIN), KNOWN_MAX), UTC)


def _gone(message: str) -> ChannelRestartError:
    return ChannelRestartError(message, reason=Reason.BROWSER_GONE)
