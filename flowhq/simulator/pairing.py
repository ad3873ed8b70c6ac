"""The refs on show, and whether what a phone scanned belongs to the page that shows it."""

import base64
import binascii
import dataclasses
import hashlib
from typing import Protocol

from flowhq.simulator import ids
from flowhq.simulator.accounts import Device, Frame
from flowhq.simulator.clock import SimClock

# Newer codes are a link whose fragment is the code.
_LINK_PREFIX = "https://wa.me/settings/linked_devices#"
KEY_BYTES = 32


class ScanRefused(Exception):
    """The scan was understood and refused."""


class MalformedCode(Exception):
    """This text is no WhatsApp Web code at all."""


class UnlinkedPage(Protocol):
    """The page that shows a ref; its number stays while refs come and go."""

    number: int

    def push(self, frame: Frame) -> None:
        """Sends a frame."""

    def paired(self, device: Device) -> None:
        """The scan was good: the page becomes this device."""


@dataclasses.dataclass(frozen=True)
class PageKeys:
    """What a page says of its code when it connects; the adv secret only as a hash."""

    noise: bytes
    identity: bytes
    adv_sha256: str

    @classmethod
    def parse(cls, noise: object, identity: object, adv_sha256: object) -> "PageKeys":
        """ValueError unless both keys are 32 bytes in base64 and the hash is SHA-256 in hex."""
        if not isinstance(adv_sha256, str) or len(adv_sha256) != 64:
            raise ValueError("adv_sha256 must be 64 hex digits")
        bytes.fromhex(adv_sha256)
        return cls(_key(noise), _key(identity), adv_sha256.lower())


@dataclasses.dataclass(frozen=True)
class ScannedCode:
    """The parts of a code, as the camera read them."""

    ref: str
    noise: bytes
    identity: bytes
    adv_sha256: str

    @classmethod
    def parse(cls, text: str) -> "ScannedCode":
        """MalformedCode unless it is `ref,noise,identity,adv secret[,platform]`."""
        parts = text.strip().removeprefix(_LINK_PREFIX).split(",")
        if len(parts) not in (4, 5) or not all(parts[:4]):
            raise MalformedCode(f"a code has 4 or 5 parts with commas between, not {len(parts)}")
        try:
            noise, identity = _key(parts[1]), _key(parts[2])
        except ValueError as error:
            raise MalformedCode(str(error)) from None
        return cls(parts[0], noise, identity, hashlib.sha256(parts[3].encode()).hexdigest())


@dataclasses.dataclass
class LiveRef:
    """A ref that a page shows right now."""

    ref: str
    index: int
    issued_at: float
    expires_at: float
    keys: PageKeys
    page: UnlinkedPage
    user_agent: str


class RefBook:
    """Every page without a pairing has at most one ref, and a ref is good once."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._live: dict[str, LiveRef] = {}

    def issue(
        self, page: UnlinkedPage, keys: PageKeys, ttl_s: float, index: int, user_agent: str
    ) -> LiveRef:
        """A fresh ref; the page's older one is dead."""
        self.withdraw(page)
        now = self._clock.now()
        live = LiveRef(ids.new_ref(), index, now, now + ttl_s, keys, page, user_agent)
        self._live[live.ref] = live
        return live

    def withdraw(self, page: UnlinkedPage) -> None:
        for ref in [ref for ref, live in self._live.items() if live.page is page]:
            del self._live[ref]

    def on_show(self) -> list[LiveRef]:
        """The refs that could be scanned now, oldest page first."""
        now = self._clock.now()
        return [live for live in self._live.values() if live.expires_at > now]

    def clear(self) -> None:
        self._live.clear()

    def redeem(self, code: ScannedCode) -> LiveRef:
        """Uses the ref up; ScanRefused when it is dead or the keys are another page's."""
        live = self.redeemable(code.ref)
        shown = live.keys
        if (code.noise, code.identity, code.adv_sha256) != (
            shown.noise,
            shown.identity,
            shown.adv_sha256,
        ):
            raise ScanRefused("keys not those of the page")
        del self._live[live.ref]
        return live

    def redeem_on_show(self, ref: str | None, page: int | None) -> LiveRef:
        """Like `redeem` for a phone that looks at the screen: the newest code, or the one named."""
        if ref is None:
            shown = [live for live in self.on_show() if page in (None, live.page.number)]
            if not shown:
                raise ScanRefused("no page shows a code")
            ref = max(shown, key=lambda live: live.issued_at).ref
        live = self.redeemable(ref)
        del self._live[live.ref]
        return live

    def redeemable(self, ref: str) -> LiveRef:
        live = self._live.get(ref)
        if live is None or live.expires_at <= self._clock.now():
            raise ScanRefused("expired ref")
        return live


def _key(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("a key must be base64 text")
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("a key must be base64 text") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key must be {KEY_BYTES} bytes")
    return key
