"""What happens to one tenant's browser: the tenant comes back by itself, the others notice nothing.

Nobody scans again, no message is lost, none is answered twice.
"""

import signal
from collections.abc import Callable

import psutil
import pytest

from tests.acceptance.parts import CODE_SHOWN, Daemon, Simulator
from tests.acceptance.programs import ORPHAN_LIMIT_S, command_of, left_after, until
from tests.acceptance.shop import QUESTIONS, Shop

WORDS = {"zuhura": "255754000011", "bakari": "255754000012", "kichwe": "255754000013"}
CUSTOMER = "255713100011"
BACK_LIMIT_S = 120.0

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def shops(daemon: Daemon, simulator: Simulator) -> list[Shop]:
    shops = [Shop(daemon, simulator, word, phone).create() for word, phone in WORDS.items()]
    for shop in shops:
        shop.verb("worker/start")
    for shop in shops:
        shop.scan()
    for shop in shops:
        shop.wait_for("CONNECTED")
        shop.wait_until_caught_up()
    return shops


class Traffic:
    """A customer of one shop who asks one question after the other and counts the answers."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._before = len(shop.replies().get(CUSTOMER, []))
        self.asked: list[int] = []

    def open(self) -> int:
        """Questions that wait for their answer."""
        return self._before + len(self.asked) - len(self.shop.replies().get(CUSTOMER, []))

    def ask(self) -> None:
        number = len(self.asked) % QUESTIONS
        self.shop.ask(CUSTOMER, number)
        self.asked.append(number)

    def wait_until_all_are_answered(self) -> None:
        """Each question has one answer, in order."""
        texts = self.shop.wait_for_replies(self._before + len(self.asked), customer=CUSTOMER)
        answered = [self.shop.answers(text) for text in texts[self._before :]]
        assert answered == [[number] for number in self.asked]


def kill_browser(shop: Shop) -> list[psutil.Process]:
    (browser,) = [process for process in shop.browser() if is_main(process)]
    browser.send_signal(signal.SIGKILL)
    return [browser]


def kill_renderer(shop: Shop) -> list[psutil.Process]:
    renderers = shop.browser("renderer")
    for renderer in renderers:
        renderer.send_signal(signal.SIGKILL)
    return renderers


def stop_renderer(shop: Shop) -> list[psutil.Process]:
    """The page hangs: its process is there and does nothing any more."""
    renderers = shop.browser("renderer")
    for renderer in renderers:
        renderer.send_signal(signal.SIGSTOP)
    return renderers


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(kill_browser, "BROWSER_GONE", id="browser killed"),
        pytest.param(kill_renderer, "PAGE_CRASHED", id="renderer crashed"),
        pytest.param(stop_renderer, "PAGE_HUNG", id="page hung"),
    ],
)
def test_the_tenant_comes_back_and_the_others_notice_nothing(
    shops: list[Shop],
    simulator: Simulator,
    fault: Callable[[Shop], list[psutil.Process]],
    reason: str,
) -> None:
    victim, *others = shops
    histories = {shop.word: shop.changes() for shop in shops}
    scanned = simulator.last_event()
    traffic = {shop.word: Traffic(shop) for shop in shops}
    for one in traffic.values():
        one.ask()
        one.wait_until_all_are_answered()

    broken = fault(victim)
    assert broken
    traffic[victim.word].ask()

    def news() -> list[str]:
        """What became of the victim, while the others are kept busy."""
        for shop in others:
            # More would be told to wait.
            if traffic[shop.word].open() < 10:
                traffic[shop.word].ask()
        return [item["event"] for item in victim.changes()[len(histories[victim.word]) :]]

    until(
        news,
        lambda events: "failed" in events and events[-1] == "ready",
        f"{victim.word} is back",
        limit_s=BACK_LIMIT_S,
        poll_s=0.25,
    )
    # Asked sooner, both would be one backlog, and have one answer.
    traffic[victim.word].wait_until_all_are_answered()
    traffic[victim.word].ask()
    for one in traffic.values():
        one.wait_until_all_are_answered()

    failed = [item for item in victim.changes() if item["event"] == "failed"]
    assert failed[-1]["reason"] == reason
    assert [shop.changes() for shop in others] == [histories[shop.word] for shop in others]
    assert simulator.events(*CODE_SHOWN, after=scanned) == []
    assert left_after(broken, ORPHAN_LIMIT_S) == []
    until(
        lambda: [process.pid for process in victim.browser() if is_main(process)],
        lambda browsers: len(browsers) == 1,
        "one browser",
    )


def test_a_killed_driver_costs_nobody_a_message_or_the_pairing(
    shops: list[Shop], simulator: Simulator, daemon: Daemon
) -> None:
    scanned = simulator.last_event()
    histories = {shop.word: len(shop.changes()) for shop in shops}
    traffic = [Traffic(shop) for shop in shops]
    (driver,) = [p for p in daemon.processes() if " run-driver" in command_of(p)]
    browsers = [process for shop in shops for process in shop.browser()]
    driver.send_signal(signal.SIGKILL)
    for one in traffic:
        one.ask()
    assert left_after([driver, *browsers], ORPHAN_LIMIT_S) == []
    for shop in shops:
        shop.wait_until_back(histories[shop.word], limit_s=BACK_LIMIT_S)
    for one in traffic:
        one.wait_until_all_are_answered()
        one.ask()
        one.wait_until_all_are_answered()
    assert simulator.events(*CODE_SHOWN, after=scanned) == []


def test_the_operator_can_kill_a_hung_browser_at_once(
    shops: list[Shop], simulator: Simulator
) -> None:
    scanned = simulator.last_event()
    hung = stop_renderer(shops[0])
    traffic = Traffic(shops[0])
    traffic.ask()
    outcome = shops[0].verb("worker/force-restart")
    assert outcome["worker_status"] == "RUNNING"
    assert left_after(hung, ORPHAN_LIMIT_S) == []
    shops[0].wait_for("CONNECTED")
    traffic.wait_until_all_are_answered()
    assert simulator.events(*CODE_SHOWN, after=scanned) == []


def is_main(process: psutil.Process) -> bool:
    command = command_of(process)
    return bool(command) and " --type=" not in command
