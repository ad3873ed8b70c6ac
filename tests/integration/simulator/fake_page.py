"""A page in Python: speaks docs/simulator-protocol.md like the simulated WhatsApp Web page."""

import asyncio
import base64
import hashlib
import secrets
from typing import Any

import aiohttp
import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.clock import PATIENCE_S

Frame = dict[str, Any]


class SocketClosed(Exception):
    """The server closed the socket; `code` is its close code."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


class FakePage:
    """Keeps its pairing (`device`, `key`) over reconnects, as a browser profile does."""

    def __init__(self, session: aiohttp.ClientSession, url: str, *, ssl: bool = True) -> None:
        self._session = session
        self._url = url
        self._ssl = ssl
        self.noise, self.identity = secrets.token_bytes(32), secrets.token_bytes(32)
        self.adv = encode(secrets.token_bytes(32))
        self.device: str | None = None
        self.key = make_key()
        self.ref = ""
        self.answers_pings = True
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    @property
    def ws(self) -> aiohttp.ClientWebSocketResponse:
        assert self._ws is not None
        return self._ws

    @property
    def code(self) -> str:
        """The full code, as the page draws it."""
        return ",".join((self.ref, encode(self.noise), encode(self.identity), self.adv, "1"))

    async def open(self) -> None:
        self._ws = await self._session.ws_connect(f"{self._url}/ws", ssl=self._ssl)

    async def close(self) -> None:
        if self._ws is not None:
            await self._ws.close()

    async def say(self, kind: str, **fields: Any) -> None:
        await self.ws.send_str(orjson.dumps({"k": kind, **fields}).decode())

    async def hear(self) -> Frame:
        """The next frame that is not a ping; SocketClosed when there is none any more."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise SocketClosed(self.ws.close_code)
                frame: Frame = orjson.loads(message.data)
                if frame["k"] != "ping":
                    return frame
                if self.answers_pings:
                    await self.say("pong")

    async def expect(self, kind: str) -> Frame:
        frame = await self.hear()
        assert frame["k"] == kind, frame
        return frame

    async def closed(self) -> int | None:
        """The close code; frames before it are passed over."""
        while True:
            try:
                await self.hear()
            except SocketClosed as end:
                return end.code

    async def hello(self) -> None:
        """Opens the socket and greets as what the page is: new, or linked."""
        await self.open()
        if self.device is None:
            await self.say(
                "hello",
                device=None,
                noise=encode(self.noise),
                identity=encode(self.identity),
                adv_sha256=hashlib.sha256(self.adv.encode()).hexdigest(),
                ua="FakePage",
            )
        else:
            await self.say("hello", device=self.device, ua="FakePage")
        await self.expect("config")

    async def show_code(self) -> str:
        await self.hello()
        self.ref = (await self.expect("ref"))["ref"]
        return self.code

    async def finish_pairing(self) -> Frame:
        """Answers `paired`; the login frame."""
        self.device = (await self.expect("paired"))["device"]
        await self.say("paired_ack", device=self.device, key=self.public_key())
        return await self.expect("login")

    def public_key(self) -> str:
        key = self.key.public_key()
        return encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def sign(self, nonce: str) -> str:
        der = self.key.sign(base64.b64decode(nonce), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return encode(r.to_bytes(32) + s.to_bytes(32))

    async def log_in(self) -> Frame:
        """A linked page connects and proves itself; the login frame."""
        await self.hello()
        nonce = (await self.expect("challenge"))["nonce"]
        await self.say("proof", sig=self.sign(nonce))
        return await self.expect("login")

    async def receive(self) -> Frame:
        """The next queued frame, acknowledged."""
        frame = await self.hear()
        await self.say("msg_ack", seq=frame["seq"])
        return frame

    async def send(
        self, chat: str, text: str, message_id: str | None = None, *, number: int | None = None
    ) -> str:
        """``number``: of the frame; without one it is not counted."""
        message_id = message_id or "3EB0" + secrets.token_hex(9).upper()
        await self.say(
            "send",
            **({} if number is None else {"n": number}),
            msg={
                "id": message_id,
                "chat": chat,
                "from": "",
                "to": chat,
                "from_me": True,
                "type": "chat",
                "body": text,
                "t": 0,
                "notify": "",
                "ack": 0,
            },
        )
        return message_id
