"""Reads the frames of a page; whatever the protocol does not have is a BadFrame."""

import base64
import binascii

import orjson

from flowhq.simulator.accounts import Frame


class BadFrame(Exception):
    """The page said something that the protocol does not have."""


def parse(data: str) -> tuple[str, Frame]:
    """The kind of a frame and the frame."""
    try:
        frame = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise BadFrame("not JSON") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("k"), str):
        raise BadFrame("not an object with a k")
    return frame["k"], frame


def text(frame: Frame, name: str) -> str:
    value = frame.get(name)
    if not isinstance(value, str):
        raise BadFrame(f"{name} must be a text")
    return value


def texts(frame: Frame, name: str) -> list[str]:
    values = frame.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadFrame(f"{name} must be a list of texts")
    return values


def whole(frame: Frame, name: str) -> int:
    value = frame.get(name)
    if not isinstance(value, int):
        raise BadFrame(f"{name} must be a whole number")
    return value


def one_of(frame: Frame, name: str, *allowed: str) -> str:
    value = frame.get(name)
    if value not in allowed:
        raise BadFrame(f"{name} must be one of {', '.join(allowed)}")
    return str(value)


def raw_bytes(frame: Frame, name: str) -> bytes:
    try:
        return base64.b64decode(text(frame, name), validate=True)
    except binascii.Error:
        raise BadFrame(f"{name} must be base64") from None


def message(frame: Frame) -> Frame:
    """The MSG of a `send`."""
    value = frame.get("msg")
    if not isinstance(value, dict):
        raise BadFrame("msg must be an object")
    for name in ("id", "chat", "type", "body"):
        text(value, name)
    return value
