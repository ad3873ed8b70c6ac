"""Parts of the API that a test does not use: touching one of them fails the test."""

from typing import Any

from flowhq.admin.outward import Outward


class Unused:
    """Stands for any port."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not for this test")


class NoStreams(Unused):
    """A feed to which nobody listens."""

    open = 0


def unused_outward() -> Outward:
    return Outward(webhooks=Unused(), feed=NoStreams(), sending=Unused())
