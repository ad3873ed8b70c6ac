"""One tenant's WhatsApp Web page as a channel: the calls down to it, the events up from it.

Satisfies the bot's Channel by shape. What happens inside the page is in inject/, what its JSON
means in convert.py and feed.py, and the life of browser and page in tab.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import structlog

from flowhq.channel.web import convert, faults
from flowhq.channel.web.feed import to_ack
from flowhq.channel.web.settings import WebSettings
from flowhq.channel.web.tab import Tab
from flowhq.errors import ChannelRestartError, SendRefusedError, SendUnknownError
from flowhq.events import ChannelEvent
from flowhq.model import (
    Ack,
    ChatHead,
    Health,
    InboundMessage,
    Jid,
    MessageId,
    OutboundMessage,
    Rung,
    SendReceipt,
    Source,
    TenantId,
)

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Beyond the page's own limit, for the way there and back: only a hung page needs it.
GRACE_S = 2.0
# Reading a thousand messages of a chat from the page's database.
READ_LIMIT_S = 30.0
# The server's answer to an unlinking, and the page's clearing up.
LOG_OUT_LIMIT_S = 20.0

LOADING = Health(connected=False, mode="LOADING", detail="")
SENT = "OK"
CANCELLED = "ERROR_CANCELLED"
# The page may still send by itself when it is connected again.
PERHAPS_SENT = frozenset({"", "ERROR_NETWORK"})
# wa-js's codes for an address that is none, or has nobody behind it: again cannot help.
NO_SUCH_CHAT = frozenset({"invalid_wid", "chat_not_found"})


class WebChannel:
    """A tenant's channel over a Chromium of its own; made by BrowserHost, used by one runner."""

    def __init__(self, tenant_id: TenantId, settings: WebSettings, tab: Tab) -> None:
        self.tenant_id = tenant_id
        self._settings = settings
        self._tab = tab

    # -- life -----------------------------------------------------------------------------------

    async def open(self, rung: Rung = Rung.BROWSER) -> None:
        """The page is hooked and wa-js at work in it: in a new document, page or browser."""
        await self._tab.open(rung)

    async def close(self) -> None:
        await self._tab.close()

    async def kill(self) -> None:
        await self._tab.kill()

    async def events(self) -> AsyncIterator[ChannelEvent]:
        async for event in self._tab.buffer.read():
            yield event

    # -- sending --------------------------------------------------------------------------------

    async def send(self, message: OutboundMessage) -> SendReceipt:
        limit_s = self._settings.send_timeout_s
        given = {
            "to": message.to,
            "text": message.text,
            "id": message.client_id,
            "limit_ms": int(limit_s * 1000),
        }
        self._tab.check()
        if not self._tab.is_loaded:
            raise SendRefusedError("The page is loading; nothing was handed over.", retry=True)
        try:
            async with asyncio.timeout(limit_s + GRACE_S):
                answer = await self._tab.ask_once("send", given)
        except TimeoutError:
            answer = None
        except ChannelRestartError as error:
            raise SendUnknownError(f"The page was lost while it sent: {error.message}") from error
        return read_sent(answer)

    async def look_up(self, chat: Jid, client_id: MessageId) -> Ack | None:
        answer = await self._read("lookUp", {"chat": chat, "id": client_id})
        ack = answer["ack"]
        return None if ack is None else to_ack(ack)

    async def mark_read(self, chat: Jid) -> None:
        await self._try("markRead", {"chat": chat})

    async def show_typing(self, chat: Jid, seconds: float) -> None:
        await self._try("typing", {"chat": chat, "ms": int(seconds * 1000)})

    # -- reading --------------------------------------------------------------------------------

    async def history(
        self, chat: Jid, *, since: datetime | None, limit: int
    ) -> Sequence[InboundMessage]:
        # The page knows whole seconds: a message of the same second must not be missed.
        given = {
            "chat": chat,
            "since": None if since is None else int(since.timestamp()),
            "limit": limit,
        }
        answer = await self._read("history", given)
        read = partial(convert.to_message, source=Source.CATCHUP)
        return readable(answer["messages"], read, self.tenant_id)

    async def chats(self) -> Sequence[ChatHead]:
        answer = await self._read("chats", {})
        return readable(answer["chats"], convert.to_chat, self.tenant_id)

    async def probe(self) -> Health:
        """``detail`` names the page's states and what was dropped in the page, by reason."""
        self._tab.check()
        if not self._tab.is_loaded:
            return LOADING
        limit_s = self._settings.probe_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._tab.ask_once("health", {})
        except TimeoutError:
            raise faults.page_hung("health", limit_s) from None
        if answer is None:
            return LOADING
        return to_health(answer, unreadable=self._tab.feed.unreadable)

    # -- the link -------------------------------------------------------------------------------

    async def log_out(self) -> None:
        """Unlinks this device; the page tells LoggedOut and shows a new code by itself."""
        try:
            async with asyncio.timeout(LOG_OUT_LIMIT_S):
                answer = await self._tab.ask_once("logOut", {})
        except TimeoutError:
            raise faults.page_hung("logOut", LOG_OUT_LIMIT_S) from None
        # No answer: the page has navigated away already, as it does after its logout.
        if answer is not None and "error" in answer:
            raise faults.page_unusable(f"The page could not log out ({answer['error']}).")

    # -- inside ---------------------------------------------------------------------------------

    async def _read(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """An answer that is needed; a page that cannot give it is no use."""
        answer = await self._tab.ask(name, given, limit_s=READ_LIMIT_S, needs_link=True)
        if "error" in answer:
            raise faults.page_cannot_tell(name, answer["error"])
        return answer

    async def _try(self, name: str, given: dict[str, Any]) -> None:
        """Something nice to have: a page that cannot do it is none the worse."""
        answer = await self._tab.ask(name, given, limit_s=self._settings.probe_timeout_s)
        if "error" in answer:
            log.info("page declined", tenant_id=str(self.tenant_id), call=name)


def readable(
    raws: Iterable[dict[str, Any]], read: Callable[[dict[str, Any]], T], tenant_id: TenantId
) -> list[T]:
    """One that cannot be read costs none of the others."""
    found = []
    for raw in raws:
        try:
            found.append(read(raw))
        except convert.UnreadableError as error:
            log.warning("page answer unreadable", tenant_id=str(tenant_id), error=str(error))
    return found


def read_sent(answer: dict[str, Any] | None) -> SendReceipt:
    """What the page's answer to a send means. A refusal is no exception there: it stands in
    ``messageSendResult``. SendRefusedError, SendUnknownError."""
    outcome = "unknown" if answer is None else answer.get("outcome", "unknown")
    if answer is None or outcome == "unknown":
        raise SendUnknownError("The page did not answer within the limit.")
    if outcome == "not_sent":
        code = answer["code"]
        raise SendRefusedError(f"Nothing was sent ({code}).", retry=code not in NO_SUCH_CHAT)
    result, ack = answer["result"], to_ack(answer["ack"])
    if result == SENT or ack >= Ack.SERVER:
        return SendReceipt(MessageId(answer["id"]), max(ack, Ack.SERVER))
    if result in PERHAPS_SENT and ack >= Ack.PENDING:
        raise SendUnknownError(f"The page is not sure ({result or 'no result'}).")
    raise SendRefusedError(f"WhatsApp refused ({result}).", retry=result != CANCELLED)


def to_health(answer: dict[str, Any], *, unreadable: int) -> Health:
    if "error" in answer:
        return Health(connected=False, mode="UNKNOWN", detail=str(answer["error"]))
    drops = {**answer["drops"], **({"unreadable_here": unreadable} if unreadable else {})}
    told = [f"info={answer['info']}", f"socket={answer['socket']}", f"waiting={answer['waiting']}"]
    told += [f"dropped_{reason}={count}" for reason, count in sorted(drops.items())]
    return Health(
        connected=answer["usable"] is True, mode=str(answer["mode"]), detail=" ".join(told)
    )
