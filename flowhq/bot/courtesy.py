"""Read marks and "typing ..." for chats that get an answer: shown if there is time, never waited
for and never a reason to fail."""

import asyncio

import structlog

from flowhq.bot.ports import Channel
from flowhq.errors import ChannelError
from flowhq.model import Jid

log = structlog.get_logger(__name__)

# Chats waiting for their marks; with more than this under way nobody misses one.
WAITING_MAX = 20
# How long "typing ..." shows for a reply that leaves at once; the message itself ends it sooner.
TYPING_S = 2.0
# WhatsApp stops showing it after 25 s by itself.
TYPING_MAX_S = 25.0


class Courtesy:
    """One worker for one tenant's page."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: asyncio.Queue[tuple[Jid, float]] = asyncio.Queue(WAITING_MAX)

    def offer(self, chat: Jid, *, due_in_s: float) -> None:
        """Mark the chat read and show typing until about when the reply is due."""
        if not self._waiting.full():
            self._waiting.put_nowait((chat, min(max(due_in_s, TYPING_S), TYPING_MAX_S)))

    async def run(self) -> None:
        while True:
            chat, seconds = await self._waiting.get()
            try:
                await self._channel.show_typing(chat, seconds)
                await self._channel.mark_read(chat)
            except ChannelError as error:
                log.debug("no read mark", why=error.message)
