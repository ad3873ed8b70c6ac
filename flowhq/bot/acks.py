"""The watch on acks that stay out: is it the message, or does the page send nothing any more?

A page may look well and yet hand nothing on. A message whose ack stays out is reason to ask the
page; several of them in a row are reason to load it anew.
"""

import structlog

from flowhq.bot.memory import Memory
from flowhq.bot.ports import Channel
from flowhq.errors import ChannelRestartError
from flowhq.model import MessageId, Reason

log = structlog.get_logger(__name__)

# So many messages in a row without an ack from a page that says it is connected.
STUCK_MAX = 3


class AckWatch:
    """Told by the sender of every ack that is overdue, and of every one that came."""

    def __init__(self, channel: Channel, memory: Memory) -> None:
        self._channel = channel
        self._memory = memory

    def came(self) -> None:
        self._memory.stuck_in_a_row = 0

    async def overdue(self, message_id: MessageId) -> None:
        """ChannelRestartError when the page is to be held responsible: it does not answer, or it
        is connected and the last few messages all stayed without an ack. Each message counts
        once, also over restarts: one that can never be sent restarts nobody for ever."""
        health = await self._channel.probe()
        if not health.connected or message_id in self._memory.stuck:
            return
        self._memory.stuck[message_id] = None
        self._memory.stuck_in_a_row += 1
        log.warning("ack overdue", message_id=message_id, in_a_row=self._memory.stuck_in_a_row)
        if self._memory.stuck_in_a_row >= STUCK_MAX:
            self._memory.stuck_in_a_row = 0
            raise ChannelRestartError(
                f"The page is connected, but {STUCK_MAX} messages in a row got no ack.",
                reason=Reason.SENDS_STUCK,
            )
