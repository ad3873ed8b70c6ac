"""What a page that is logged in says, and what that does to its account."""

from collections.abc import Callable
from typing import Any

from flowhq.simulator import frames
from flowhq.simulator.accounts import Account, Device, Frame, Send
from flowhq.simulator.world import World


class LinkedPage:
    """``handlers``: by the kind of the frame; BadFrame for one that the protocol does not have."""

    def __init__(self, world: World, device: Device, account: Account) -> None:
        self._world = world
        self._device = device
        self._account = account
        self.handlers: dict[str, Callable[[Frame], None]] = {
            "msg_ack": self._on_msg_ack,
            "send": self._on_send,
            "seen": self._on_seen,
            "presence": self._on_presence,
            "chatstate": self._on_chatstate,
            "subscribe": self._on_subscribe,
            "logout": self._on_logout,
        }

    def _on_msg_ack(self, frame: Frame) -> None:
        self._world.traffic.confirm(self._device, self._account, frames.whole(frame, "seq"))

    def _on_send(self, frame: Frame) -> None:
        number = frames.whole(frame, "n") if "n" in frame else None
        send = Send(self._device.id, frames.message(frame), number)
        self._world.traffic.send(self._device, self._account, send)

    def _on_seen(self, frame: Frame) -> None:
        chat, ids = frames.text(frame, "chat"), frames.texts(frame, "ids")
        self._world.traffic.seen(self._device, self._account, chat, ids)

    def _on_presence(self, frame: Frame) -> None:
        self._record("presence", state=frames.one_of(frame, "state", "available", "unavailable"))

    def _on_subscribe(self, frame: Frame) -> None:
        self._record("subscribe", chat=frames.text(frame, "chat"))

    def _on_chatstate(self, frame: Frame) -> None:
        state = frames.one_of(frame, "state", "composing", "paused", "recording")
        chat = frames.text(frame, "chat")
        self._world.traffic.chatstate(self._device, self._account, chat, state)

    def _on_logout(self, _frame: Frame) -> None:
        self._world.unlink(self._device, by="page")

    def _record(self, event: str, **details: Any) -> None:
        self._world.events.record(
            event, phone=self._device.phone, device=self._device.id, **details
        )
