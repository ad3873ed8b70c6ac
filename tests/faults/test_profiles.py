"""Browser profiles that a full disk or a careless hand spoiled: a person scans, nothing loops."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.parts import Daemon, Simulator
from tests.acceptance.shop import Shop

SEED = 20261121
CUSTOMER = "255713700001"

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("phones"))
    try:
        simulator.start()
        yield simulator
    finally:
        simulator.program.end()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Shop]:
    daemon = Daemon(tmp_path_factory.mktemp("home"), simulator.url)
    try:
        daemon.start()
        yield Shop(daemon, simulator, "zuhura", "255754000041").open()
    finally:
        daemon.program.end()


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(10)


def garble(path: Path) -> None:
    path.write_bytes(random.Random(SEED).randbytes(max(path.stat().st_size, 100)))


@pytest.mark.parametrize("spoil", [truncate, garble, Path.unlink])
def test_a_spoilt_profile_asks_for_a_scan_says_why_and_never_loops(
    shop: Shop, simulator: Simulator, spoil: Callable[[Path], None]
) -> None:
    before = len(shop.changes())
    shop.daemon.stop()
    files = [path for path in shop.profile.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    for path in files:
        spoil(path)
    shop.daemon.start()

    shop.wait_for_reason("PROFILE_CORRUPT")
    view = shop.wait_for("QR_READY")
    assert (view["status"], view["reason"]) == ("QR_PENDING", "PROFILE_CORRUPT")
    assert "scan the new code" in view["next_action"]
    assert "failed" not in [item["event"] for item in shop.changes()[before:]]

    seen = len(shop.replies().get(CUSTOMER, []))
    shop.scan()
    shop.wait_for("CONNECTED")
    shop.ask(CUSTOMER, 4)
    replies = shop.wait_for_replies(seen + 1, customer=CUSTOMER)
    assert shop.answers(replies[-1]) == [4]
