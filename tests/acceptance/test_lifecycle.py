"""A tenant's life as the operator and the customers see it, verb by verb and mishap by mishap."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.acceptance.parts import CODE_SHOWN, Daemon, Simulator
from tests.acceptance.programs import ORPHAN_LIMIT_S, left_after, until
from tests.acceptance.shop import Shop

PHONES = count(255754000101)
CUSTOMERS = count(255713600001)
# What the third takeover by another window leaves in the database.
AS_REPLACED = """
WITH worker AS (UPDATE worker_processes SET status = 'ERROR' WHERE tenant_id = $1)
UPDATE tenants SET desired_state = 'RUNNING', status = 'ERROR', reason = 'CONFLICT',
    detail = 'three times'
WHERE id = $1
"""

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def daemon(home: Path, simulator: Simulator) -> Iterator[Daemon]:
    """One with the usual allowance of ten replies a minute and tenant."""
    daemon = Daemon(home, simulator.url, FLOWHQ_LIMITS__REPLIES_PER_MINUTE="10")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.program.end()


@pytest.fixture(scope="module")
def lasting_shop(daemon: Daemon, simulator: Simulator) -> Shop:
    return Shop(daemon, simulator, "zuhura", str(next(PHONES))).open()


@pytest.fixture
def shop(lasting_shop: Shop) -> Shop:
    """The tenant that one test leaves connected to the next."""
    lasting_shop.wait_for("CONNECTED")
    return lasting_shop


@pytest.fixture
def new_shop(daemon: Daemon, simulator: Simulator) -> Iterator[Shop]:
    """A tenant that was never started; taken away again after the test."""
    shop = Shop(daemon, simulator, "bakari", str(next(PHONES))).create()
    yield shop
    daemon.api.ask("DELETE", shop.path)


@pytest.fixture
def open_shop(new_shop: Shop) -> Shop:
    """A tenant of the test's own that is connected."""
    new_shop.verb("worker/start")
    new_shop.scan()
    new_shop.wait_for("CONNECTED")
    return new_shop


@pytest.fixture
def juma() -> str:
    """A customer who never wrote before."""
    return str(next(CUSTOMERS))


def recorded(shop: Shop, customer: str) -> list[dict[str, str]]:
    """What the ledger has from this customer, the oldest first."""
    return [item for item in shop.logs("IN") if item["from_number"].lstrip("+") == customer]


@pytest.fixture
def at(shop: Shop, simulator: Simulator) -> int:
    """The place in the simulator's events from which on nobody needs to scan."""
    return simulator.last_event()


# -- verbs ---------------------------------------------------------------------------------------


def test_starting_what_runs_is_refused_with_a_hint_and_changes_nothing(shop: Shop) -> None:
    before = shop.changes()
    answer = shop.try_verb("worker/start")
    assert answer.status == 409
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:flowhq:problem:wrong-state"
    assert "restart" in answer.json()["next_step"]
    assert shop.changes() == before


def test_a_stop_ends_the_browser_and_may_be_repeated_and_the_pairing_stays(
    shop: Shop, simulator: Simulator, at: int, juma: str
) -> None:
    browser = shop.browser()
    assert browser
    for _ in range(2):
        outcome = shop.verb("worker/stop")
        assert (outcome["worker_status"], outcome["desired_state"]) == ("STOPPED", "STOPPED")
        assert (outcome["session_state"], outcome["paired"]) == ("DISCONNECTED", True)
        assert outcome["next_action"] == "Start the worker."
    assert left_after([*browser, *shop.browser()], ORPHAN_LIMIT_S) == []
    shop.ask(juma, 3)
    shop.verb("worker/start")
    assert shop.first_answer(juma) == [3]
    assert simulator.events(*CODE_SHOWN, after=at) == []


@pytest.mark.parametrize("verb", ["worker/restart", "worker/force-restart"])
def test_a_restart_takes_a_new_browser_and_keeps_the_pairing(
    shop: Shop, simulator: Simulator, at: int, verb: str, juma: str
) -> None:
    browser, history = shop.browser(), len(shop.changes())
    outcome = shop.verb(verb)
    assert outcome["worker_status"] == "RUNNING"
    assert left_after(browser, ORPHAN_LIMIT_S) == []
    shop.wait_until_back(history)
    shop.ask(juma, 4)
    assert shop.first_answer(juma) == [4]
    assert simulator.events(*CODE_SHOWN, after=at) == []


def test_a_paused_tenant_records_and_answers_nobody_until_it_is_resumed(
    shop: Shop, juma: str
) -> None:
    paused = shop.verb("pause")
    assert (paused["status"], paused["session_state"]) == ("PAUSED", "CONNECTED")
    assert paused["next_action"] == "Resume the tenant to let it answer again."
    shop.ask(juma, 1)
    until(lambda: recorded(shop, juma), bool, "the message is recorded")
    assert shop.verb("resume")["status"] == "ACTIVE"
    shop.ask(juma, 2)
    assert shop.first_answer(juma) == [2]
    texts = [item["message_text"] for item in recorded(shop, juma)]
    assert texts == ["zuhura01", "zuhura02"]


def test_a_logout_unlinks_at_the_phone_and_shows_a_new_code(
    shop: Shop, simulator: Simulator, juma: str
) -> None:
    assert linked_devices(simulator, shop) == 1
    outcome = shop.verb("session/logout")
    assert outcome["paired"] is False
    until(lambda: linked_devices(simulator, shop), lambda count: count == 0, "it is unlinked")
    shop.scan()
    shop.wait_for("CONNECTED")
    shop.ask(juma, 5)
    assert shop.first_answer(juma) == [5]


def test_a_logout_of_what_is_stopped_makes_it_new_again(open_shop: Shop) -> None:
    open_shop.verb("worker/stop")
    outcome = open_shop.verb("session/logout")
    assert (outcome["status"], outcome["paired"]) == ("NEW", False)
    assert not open_shop.profile.exists()
    open_shop.verb("worker/start")
    assert open_shop.code().startswith("2@")


def test_a_deleted_tenant_leaves_no_browser_no_profile_no_row_and_no_device(
    open_shop: Shop, daemon: Daemon, simulator: Simulator
) -> None:
    browser = open_shop.browser()
    assert linked_devices(simulator, open_shop) == 1
    assert daemon.api.ask("DELETE", open_shop.path).status == 204
    assert left_after([*browser, *open_shop.browser()], ORPHAN_LIMIT_S) == []
    assert not open_shop.profile.exists()
    assert daemon.api.ask("GET", open_shop.path).status == 404
    assert open_shop.try_verb("worker/start").status == 404
    assert daemon.query("SELECT 1 FROM message_logs WHERE tenant_id = $1", open_shop.id) == []
    until(lambda: linked_devices(simulator, open_shop), lambda count: count == 0, "it is unlinked")


def linked_devices(simulator: Simulator, open_shop: Shop) -> int:
    devices = simulator.control("state")["devices"]
    return sum(device["phone"] == open_shop.phone for device in devices)


# -- the phone and the network -----------------------------------------------------------------


def test_a_device_removed_on_the_phone_asks_for_a_scan_and_says_why(
    shop: Shop, simulator: Simulator
) -> None:
    simulator.control("logout", phone=shop.phone)
    shop.wait_for_reason("LOGGED_OUT")
    view = shop.wait_for("QR_READY")
    assert (view["status"], view["reason"]) == ("QR_PENDING", "LOGGED_OUT")
    assert view["next_action"] == "The phone removed this device: scan the new code."
    assert view["session"]["paired_at"] is None
    shop.scan()
    assert shop.wait_for("CONNECTED")["status"] == "ACTIVE"


def test_codes_that_ran_out_say_so_and_a_restart_shows_a_new_one(
    new_shop: Shop, simulator: Simulator
) -> None:
    simulator.control("config", qr_ttl=1, qr_max=2)
    try:
        new_shop.verb("worker/start")
        view = new_shop.wait_for_reason("PAIRING_EXPIRED")
    finally:
        simulator.control("config", qr_ttl=20, qr_max=6)
    assert (view["status"], view["worker"]["status"]) == ("QR_PENDING", "RUNNING")
    assert "Restart the worker" in view["next_action"]
    until(
        lambda: new_shop.daemon.api.ask("GET", f"{new_shop.path}/qr?format=raw").status,
        lambda status: status == 409,
        "no code is on show",
    )
    new_shop.verb("worker/restart")
    new_shop.scan()
    new_shop.wait_for("CONNECTED")


def test_the_code_comes_as_text_as_picture_and_in_json(new_shop: Shop) -> None:
    new_shop.verb("worker/start")
    assert new_shop.code().startswith("2@")
    ask, path = new_shop.daemon.api.ask, f"{new_shop.path}/qr"
    shown = ask("GET", path).json()
    assert shown["state"] == "QR_READY"
    assert shown["qr"].startswith("data:image/png;base64,")
    assert shown["expires_at"]
    picture = ask("GET", path, Accept="image/png")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


def test_whatsapp_open_elsewhere_is_an_error_that_a_restart_ends(
    shop: Shop, simulator: Simulator, juma: str
) -> None:
    simulator.control("conflict", phone=shop.phone)
    view = shop.wait_for_reason("CONFLICT")
    assert (view["status"], view["session"]["state"]) == ("ERROR", "DISCONNECTED")
    assert "open elsewhere" in view["next_action"]
    shop.ask(juma, 6)
    shop.verb("worker/restart")
    shop.wait_for("CONNECTED")
    assert shop.first_answer(juma) == [6]


def test_a_lost_network_is_told_and_comes_back_by_itself(
    shop: Shop, simulator: Simulator, at: int, juma: str
) -> None:
    restarts = shop.view()["worker"]["restarts"]
    simulator.control("drop", seconds=600, phone=shop.phone)
    view = shop.wait_for_reason("CONNECTION_LOST")
    assert (view["status"], view["session"]["state"]) == ("ACTIVE", "DISCONNECTED")
    shop.ask(juma, 7)
    simulator.control("restore")
    shop.wait_for("CONNECTED")
    assert shop.first_answer(juma) == [7]
    assert shop.view()["worker"]["restarts"] == restarts
    assert simulator.events(*CODE_SHOWN, after=at) == []


# -- the daemon --------------------------------------------------------------------------------


def test_who_is_wanted_comes_back_after_a_restart_of_the_daemon_behind_the_api(
    shop: Shop, daemon: Daemon, simulator: Simulator, at: int
) -> None:
    stopped = Shop(daemon, simulator, "bakari", str(next(PHONES))).open()
    stopped.verb("worker/stop")
    replaced = Shop(daemon, simulator, "bakari", str(next(PHONES))).create()
    daemon.query(AS_REPLACED, replaced.id)
    scanned = simulator.last_event()
    daemon.stop()
    # So that the first look does not come too late, however long it takes.
    simulator.control("drop", seconds=600, phone=shop.phone)
    daemon.start()
    first = shop.view()
    assert first["desired_state"] == "RUNNING"
    assert first["session"]["state"] == "DISCONNECTED"
    simulator.control("restore", phone=shop.phone)
    shop.wait_for("CONNECTED")
    view = stopped.view()
    assert (view["desired_state"], view["worker"]["status"]) == ("STOPPED", "STOPPED")
    assert stopped.browser() == []
    assert simulator.events(*CODE_SHOWN, after=scanned) == []
    view = replaced.view()
    assert (view["reason"], view["detail"]) == ("CONFLICT", "three times")
    assert (view["worker"]["status"], replaced.browser()) == ("ERROR", [])
    for one in (stopped, replaced):
        daemon.api.call("DELETE", one.path)


def test_a_tenant_without_configuration_is_parked_and_the_others_go_on(
    shop: Shop, daemon: Daemon, simulator: Simulator, juma: str
) -> None:
    broken = Shop(daemon, simulator, "bakari", str(next(PHONES))).create()
    daemon.query("DELETE FROM tenant_configs WHERE tenant_id = $1", broken.id)
    history = shop.changes()
    broken.verb("worker/start")
    view = broken.wait_for_reason("MISCONFIGURED")
    assert (view["status"], view["worker"]["status"]) == ("ERROR", "ERROR")
    assert "configuration" in view["detail"]
    assert view["next_action"] == "Correct what the detail names, then restart."
    assert view["config"] is None
    shop.ask(juma, 8)
    assert shop.first_answer(juma) == [8]
    assert shop.changes() == history
    daemon.api.call("DELETE", broken.path)


# -- what is answered, and how often -----------------------------------------------------------


def test_media_get_one_notice_an_episode_and_are_recorded_with_their_kind(
    shop: Shop, juma: str
) -> None:
    shop.say(juma, "", type="image")
    shop.say(juma, "", type="sticker")
    shop.say(juma, "", type="location")
    shop.ask(juma, 9)
    notice, answer = shop.wait_for_replies(2, customer=juma)
    assert shop.answers(notice) == []
    assert shop.answers(answer) == [9]
    shop.say(juma, "", type="ptt")
    assert shop.wait_for_replies(3, customer=juma)[2] == notice
    kinds = [item["type"] for item in recorded(shop, juma)]
    assert kinds == ["image", "sticker", "location", "text", "audio"]


def test_groups_status_and_channels_are_neither_answered_nor_recorded(
    shop: Shop, juma: str
) -> None:
    for place in ("120363000000000001@g.us", "status@broadcast", "120363000000000002@newsletter"):
        shop.say(juma, "zuhura01", group=place)
    shop.ask(juma, 2)
    assert shop.first_answer(juma) == [2]
    assert [item["message_text"] for item in recorded(shop, juma)] == ["zuhura02"]


def test_ten_answers_a_minute_then_one_notice_then_the_rest_later(open_shop: Shop) -> None:
    customers = [f"2557136010{number:02}" for number in range(12)]
    for number, customer in enumerate(customers):
        open_shop.ask(customer, number)
    open_shop.wait_for_replies(13)
    planned = open_shop.daemon.query(
        "SELECT o.next_at > o.planned_at AS later, o.body ->> 'text' AS text, o.planned_at"
        " FROM outbox o"
        " WHERE o.tenant_id = $1 ORDER BY o.id",
        open_shop.id,
    )
    at_once = [open_shop.answers(row["text"]) for row in planned if not row["later"]]
    later = [open_shop.answers(row["text"]) for row in planned if row["later"]]
    # The allowance grows by one in six seconds, should a busy machine take so long to decide.
    times = [row["planned_at"] for row in planned]
    grown = int((max(times) - min(times)).total_seconds() / 5)
    assert (len(planned), at_once.count([])) == (13, 1)
    assert 2 - grown <= len(later) <= 2
    # Chats are answered side by side, so that any two may be the ones that wait.
    assert sorted([*at_once, *later]) == [[], *([number] for number in range(12))]
    waited = {customers[number] for (number,) in later}
    noticed = {
        who for who, texts in open_shop.replies().items() if open_shop.answers(texts[0]) == []
    }
    assert len(noticed) == 1
    assert noticed <= waited


def test_a_changed_configuration_holds_from_the_next_message_on(shop: Shop, juma: str) -> None:
    shop.ask(juma, 1)
    assert shop.first_answer(juma) == [1]
    shop.daemon.api.call("PATCH", shop.path, {"business_name": "Duka Jipya"})
    asha = str(next(CUSTOMERS))
    shop.say(asha, "Habari")
    assert "Duka Jipya" in shop.wait_for_replies(1, customer=asha)[0]
