"""The WebSocket of one page: docs/simulator-protocol.md, seen from the server."""

import asyncio
import base64
import contextlib
import enum
import secrets
from collections import deque
from collections.abc import Callable

import orjson
from aiohttp import WSMsgType, web

from flowhq.simulator import frames, keys
from flowhq.simulator.accounts import Account, Device, Frame
from flowhq.simulator.frames import BadFrame
from flowhq.simulator.linked import LinkedPage
from flowhq.simulator.pairing import PageKeys
from flowhq.simulator.screen import Screen
from flowhq.simulator.world import (
    CLOSE_BAD_FRAME,
    CLOSE_NETWORK,
    CLOSE_PROOF_REFUSED,
    CLOSE_REPLACED,
    REASON_REMOVED,
    World,
)

WORLD = web.AppKey("world", World)

MAX_FRAME_BYTES = 2 * 1024 * 1024
HANDSHAKE_S = 30.0
CLOSING_S = 2.0
MISSED_PINGS_MAX = 3
# Frames outside the device's queue; a page that reads none of so many is cut off.
LANE_CAPACITY = 10_000
SOCKETS_MAX = 2_000


class Phase(enum.Enum):
    """Where the socket is: GREETING -> UNLINKED -> PAIRING -> IN, or GREETING -> PROVING -> IN."""

    GREETING = "greeting"
    UNLINKED = "unlinked"
    PAIRING = "pairing"
    PROVING = "proving"
    IN = "in"
    REMOVED = "removed"


async def serve(request: web.Request) -> web.StreamResponse:
    """GET /ws"""
    world = request.app[WORLD]
    if world.away_for_s() and world.hard_drop and request.transport is not None:
        request.transport.abort()
        return web.Response(status=503)
    if len(world.wires) >= SOCKETS_MAX:
        return web.Response(status=503, text="too many pages")
    ws = web.WebSocketResponse(
        timeout=CLOSING_S, max_msg_size=MAX_FRAME_BYTES, autoping=True, compress=False
    )
    await ws.prepare(request)
    if world.away_for_s():
        await ws.close(code=CLOSE_NETWORK, message=b"network dropped")
        return ws
    await PageSocket(world, ws, request.transport).run()
    return ws


class PageSocket:
    """One page's connection: reads, writes, pings and shows refs until the first of these ends."""

    def __init__(
        self, world: World, ws: web.WebSocketResponse, transport: asyncio.Transport | None
    ) -> None:
        self._world = world
        self.number = next(world.page_numbers)
        self._ws = ws
        self._transport = transport
        self._phase = Phase.GREETING
        self._device: Device | None = None
        self._account: Account | None = None
        self._challenge = b""
        self._lane: deque[Frame] = deque()
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._last_resort: asyncio.TimerHandle | None = None
        self._offline_left = 0
        self._held_back = False
        self._unanswered_pings = 0
        self._screen = Screen(world, self)
        self._handlers: dict[Phase, dict[str, Callable[[Frame], None]]] = {
            Phase.GREETING: {"hello": self._on_hello},
            Phase.UNLINKED: {"refresh_refs": self._on_refresh_refs},
            Phase.PAIRING: {"paired_ack": self._on_paired_ack, "refresh_refs": self._ignore},
            Phase.PROVING: {"proof": self._on_proof},
            Phase.IN: {"takeover": self._on_takeover, "refresh_refs": self._ignore},
        }

    # What the state may ask of a connected page (accounts.Wire, pairing.UnlinkedPage).

    def push(self, frame: Frame) -> None:
        if len(self._lane) >= LANE_CAPACITY:
            self.close(CLOSE_BAD_FRAME, "the page reads nothing", hard=True)
            return
        self._lane.append(frame)
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def remove(self, reason: int) -> None:
        self._phase = Phase.REMOVED
        self._device = None
        self.push({"k": "removed", "reason": reason})

    def hold_back(self) -> None:
        self._held_back = True
        self.push({"k": "conflict"})

    def close(self, code: int, reason: str, *, hard: bool = False) -> None:
        if self._closing is not None and not hard:
            return
        self._closing = self._closing or (code, reason)
        self._detach()
        self._wake.set()
        if hard:
            self._abort()
        else:
            # A page that hangs never reads the closing frame.
            loop = asyncio.get_running_loop()
            self._last_resort = loop.call_later(CLOSING_S, self._abort)

    def paired(self, device: Device) -> None:
        account = self._world.account(device.phone)
        self._device, self._account = device, account
        self._phase = Phase.PAIRING
        self._screen.go_dark()
        self.push({"k": "paired", "device": device.id, **account.me()})

    # Running.

    async def run(self) -> None:
        self._world.wires.add(self)
        tasks = [
            asyncio.create_task(self._read(), name="simulator-read"),
            asyncio.create_task(self._write(), name="simulator-write"),
            asyncio.create_task(self._watch(), name="simulator-watch"),
            asyncio.create_task(self._screen.run(), name="simulator-screen"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._world.wires.discard(self)
            self._detach()
        await self._say_goodbye(tasks)

    async def _say_goodbye(self, tasks: list[asyncio.Task[None]]) -> None:
        code, reason = self._closing or (1000, "")
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._ws.close(code=code, message=reason.encode()[:120])
        if self._last_resort is not None:
            self._last_resort.cancel()
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, ConnectionError):
                raise error

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _detach(self) -> None:
        """The socket is no device's and shows no ref from now on."""
        self._world.refs.withdraw(self)
        device, self._device = self._device, None
        if device is None:
            return
        if device.wire is self:
            device.wire = None
            device.rewind()
        if device.key_spki is None and device.id in self._world.devices:
            self._world.unlink(device, by="pairing not finished")
        self._world.events.record(
            "socket_closed",
            phone=device.phone,
            device=device.id,
            code=self._closing[0] if self._closing else self._ws.close_code,
        )

    async def _read(self) -> None:
        async for message in self._ws:
            if self._closing is not None:
                return
            if message.type is not WSMsgType.TEXT:
                self.close(CLOSE_BAD_FRAME, "frames are text")
                return
            try:
                self._dispatch(message.data)
            except BadFrame as error:
                self._world.events.record("bad_frame", problem=str(error))
                self.close(CLOSE_BAD_FRAME, str(error))
                return

    def _dispatch(self, data: str) -> None:
        kind, frame = frames.parse(data)
        if kind == "ping":
            self.push({"k": "pong"})
        elif kind == "pong":
            self._unanswered_pings = 0
        elif self._phase is not Phase.REMOVED:
            handler = self._handlers[self._phase].get(kind)
            if handler is None:
                raise BadFrame(f"no {kind[:40]} while {self._phase.value}")
            handler(frame)

    async def _write(self) -> None:
        while True:
            self._wake.clear()
            while (frame := self._next_frame()) is not None:
                await self._ws.send_str(orjson.dumps(frame).decode())
            if self._closing is not None:
                return
            await self._wake.wait()

    def _next_frame(self) -> Frame | None:
        """Frames of the moment first, then the device's queue; nothing once it closes."""
        if self._closing is not None:
            return None
        if self._lane:
            return self._lane.popleft()
        device = self._device
        if device is None or self._phase is not Phase.IN or self._held_back:
            return None
        frame = device.next_frame()
        if frame is None:
            return None
        offline = self._offline_left > 0
        if offline:
            self._offline_left -= 1
            if not self._offline_left:
                self._lane.append({"k": "offline_done"})
        return {**frame, "offline": offline} if frame["k"] == "msg" else frame

    async def _watch(self) -> None:
        """Ends when the page is silent for too long."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        while self._unanswered_pings < MISSED_PINGS_MAX:
            await asyncio.sleep(self._world.settings.ping_s)
            if self._phase in {Phase.GREETING, Phase.PROVING}:
                if loop.time() - started_at > HANDSHAKE_S:
                    break
                continue
            self._unanswered_pings += 1
            self.push({"k": "ping"})
        self.close(CLOSE_BAD_FRAME, "no answer to pings")

    # Handshake.

    def _on_hello(self, frame: Frame) -> None:
        user_agent = str(frame.get("ua") or "")[:500]
        self.push({"k": "config", **self._world.settings.for_page()})
        device_id = frame.get("device")
        if device_id is not None:
            self._challenge_device(device_id)
            return
        try:
            page_keys = PageKeys.parse(
                frame.get("noise"), frame.get("identity"), frame.get("adv_sha256")
            )
        except ValueError as error:
            raise BadFrame(str(error)) from None
        self._phase = Phase.UNLINKED
        self._screen.light(page_keys, user_agent)

    def _challenge_device(self, device_id: object) -> None:
        device = self._world.devices.get(device_id) if isinstance(device_id, str) else None
        if device is None or device.key_spki is None:
            self.remove(REASON_REMOVED)
            return
        account = self._world.account(device.phone)
        if self._world.away_for_s(account):
            self.close(CLOSE_NETWORK, "network dropped", hard=self._world.hard_drop)
            return
        self._challenge = secrets.token_bytes(32)
        self._phase = Phase.PROVING
        self._device, self._account = device, account
        self.push({"k": "challenge", "nonce": base64.b64encode(self._challenge).decode()})

    def _on_proof(self, frame: Frame) -> None:
        device = self._need_device()
        signature = frames.raw_bytes(frame, "sig")
        if device.key_spki is None or not keys.is_signed(
            device.key_spki, self._challenge, signature
        ):
            self._device = None
            self.close(CLOSE_PROOF_REFUSED, "proof refused")
            return
        self._log_in(device)

    def _on_paired_ack(self, frame: Frame) -> None:
        device = self._need_device()
        if frame.get("device") != device.id:
            raise BadFrame("paired_ack for another device")
        spki = frames.raw_bytes(frame, "key")
        if not keys.is_p256_key(spki):
            raise BadFrame("key is not a P-256 public key")
        device.key_spki = spki
        self._log_in(device)

    def _log_in(self, device: Device) -> None:
        account = self._need_account()
        if device.id not in self._world.devices:
            self.remove(REASON_REMOVED)
            return
        if device.wire is not None and device.wire is not self:
            device.wire.close(CLOSE_REPLACED, "replaced by another socket")
        device.wire = self
        self._handlers[Phase.IN] |= LinkedPage(self._world, device, account).handlers
        self._phase = Phase.IN
        self._offline_left = device.unsent
        self.push(
            {
                "k": "login",
                "me": account.me(),
                "contacts": [contact.as_frame() for contact in account.contacts.values()],
                "history": device.take_history(),
                "offline": self._offline_left,
            }
        )
        if not self._offline_left:
            self.push({"k": "offline_done"})
        self._world.events.record("online", phone=account.phone, device=device.id)

    # Logged in.

    def _on_takeover(self, _frame: Frame) -> None:
        device = self._need_device()
        self._held_back = False
        self._world.events.record("takeover", phone=device.phone, device=device.id)
        self._wake.set()

    def _on_refresh_refs(self, _frame: Frame) -> None:
        self._screen.refresh()

    def _ignore(self, _frame: Frame) -> None:
        """A frame that crossed one of ours on its way."""

    def _need_device(self) -> Device:
        if self._device is None:
            raise BadFrame("no device")
        return self._device

    def _need_account(self) -> Account:
        if self._account is None:
            raise BadFrame("no account")
        return self._account
