"""Which code a phone may scan, and when."""

import base64
import hashlib

import pytest

from flowhq.simulator.accounts import Device, Frame
from flowhq.simulator.clock import SimClock
from flowhq.simulator.pairing import (
    MalformedCode,
    PageKeys,
    RefBook,
    ScannedCode,
    ScanRefused,
)

NOISE, IDENTITY, ADV = b"n" * 32, b"i" * 32, "secret"
KEYS = PageKeys(NOISE, IDENTITY, hashlib.sha256(ADV.encode()).hexdigest())


class ScreenStub:
    """A page that shows codes."""

    def __init__(self, number: int = 1) -> None:
        self.number = number

    def push(self, frame: Frame) -> None:
        raise AssertionError("the book says nothing by itself")

    def paired(self, device: Device) -> None:
        raise AssertionError("the book links nothing by itself")


class Hand:
    """A clock's source that is moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def code(ref: str, noise: bytes = NOISE, identity: bytes = IDENTITY, adv: str = ADV) -> str:
    parts = (ref, base64.b64encode(noise).decode(), base64.b64encode(identity).decode(), adv)
    return ",".join(parts)


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def book(hand: Hand) -> RefBook:
    return RefBook(SimClock(hand))


def test_a_live_ref_with_the_pages_keys_is_redeemed_once(book: RefBook) -> None:
    live = book.issue(ScreenStub(), KEYS, 20.0, 0, "")
    scanned = ScannedCode.parse(code(live.ref) + ",1")
    assert book.redeem(scanned) is live
    with pytest.raises(ScanRefused, match="expired ref"):
        book.redeem(scanned)


def test_a_ref_dies_at_its_time_to_the_second(book: RefBook, hand: Hand) -> None:
    live = book.issue(ScreenStub(), KEYS, 20.0, 0, "")
    hand.time += 19.9
    assert book.redeemable(live.ref) is live
    assert book.on_show() == [live]
    hand.time += 0.1
    assert book.on_show() == []
    with pytest.raises(ScanRefused, match="expired ref"):
        book.redeem(ScannedCode.parse(code(live.ref)))


def test_a_new_ref_kills_the_pages_old_one_and_no_other_pages(book: RefBook) -> None:
    screen, other = ScreenStub(1), ScreenStub(2)
    old = book.issue(screen, KEYS, 20.0, 0, "")
    others = book.issue(other, KEYS, 20.0, 0, "")
    new = book.issue(screen, KEYS, 20.0, 1, "")
    assert book.on_show() == [others, new]
    with pytest.raises(ScanRefused):
        book.redeemable(old.ref)
    book.withdraw(screen)
    assert book.on_show() == [others]


@pytest.mark.parametrize("wrong", [{"noise": b"x" * 32}, {"identity": b"x" * 32}, {"adv": "guess"}])
def test_foreign_keys_are_refused_and_the_ref_lives_on(
    book: RefBook, wrong: dict[str, bytes]
) -> None:
    live = book.issue(ScreenStub(), KEYS, 20.0, 0, "")
    with pytest.raises(ScanRefused, match="keys not those of the page"):
        book.redeem(ScannedCode.parse(code(live.ref, **wrong)))  # type: ignore[arg-type]
    assert book.redeem(ScannedCode.parse(code(live.ref))) is live


def test_looking_at_the_screen_finds_the_newest_the_named_or_the_pages_code(
    book: RefBook, hand: Hand
) -> None:
    first = book.issue(ScreenStub(1), KEYS, 20.0, 0, "")
    hand.time += 1
    second = book.issue(ScreenStub(2), KEYS, 20.0, 0, "")
    third = book.issue(ScreenStub(3), KEYS, 20.0, 0, "")
    assert book.redeem_on_show(None, 2) is second
    assert book.redeem_on_show(None, None) is third
    assert book.redeem_on_show(first.ref, None) is first
    with pytest.raises(ScanRefused, match="no page shows a code"):
        book.redeem_on_show(None, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ref",
        "ref,a,b",
        "ref,a,b,c",
        code("ref", noise=b"short"),
        code("") + ",1",
        code("ref", adv=""),
        code("ref") + ",1,2",
    ],
)
def test_what_is_no_code_is_malformed(text: str) -> None:
    with pytest.raises(MalformedCode):
        ScannedCode.parse(text)


@pytest.mark.parametrize(
    ("noise", "identity", "adv_sha256"),
    [
        (None, "", ""),
        ("AA==", "AA==", "0" * 64),
        (base64.b64encode(NOISE).decode(), base64.b64encode(IDENTITY).decode(), "z" * 64),
        (base64.b64encode(NOISE).decode(), base64.b64encode(IDENTITY).decode(), None),
        (base64.b64encode(NOISE).decode(), 7, "0" * 64),
    ],
)
def test_a_page_must_name_its_keys_properly(
    noise: object, identity: object, adv_sha256: object
) -> None:
    with pytest.raises(ValueError, match=r"."):
        PageKeys.parse(noise, identity, adv_sha256)
