"""The whole product as an arena: daemon, real browsers, wa-js, and the simulator outside of it.

What customers wrote and what reached their phones is the simulator's record, put into the form in
which tests/faults/verdict.py judges. The simulator takes an id that comes again for another
message, so that whatever is sent twice arrives twice; not so a frame that the page repeats because
it died before it had the server's answer, which is the page's way to lose nothing.
"""

import random
import signal
import threading
import time
from functools import partial
from pathlib import Path

import asyncpg
import psutil

from flowhq.db.embedded import EmbeddedPostgres
from tests.acceptance.parts import Daemon, Simulator
from tests.acceptance.programs import LIMIT_S, command_of, left_after, until
from tests.acceptance.shop import QUESTIONS, Shop
from tests.faults.campaign import Blow, Kind
from tests.faults.leaving import Leaving, browsers_of
from tests.faults.verdict import Entry, Ledger, Verdict, judge
from tests.faults.world import WAITING, wait
from tests.pg import run_apart

WORDS = {"zuhura": "255754000031", "bakari": "255754000032"}
CHATS = 6
# After a restart a send in doubt gets a minute to be acknowledged before it is asked for again.
SETTLED_LIMIT_S = 180.0


class Customers:
    """Write at a rate from a thread of their own, chosen by the dice; ``entries`` is their record,
    in the order in which the simulator took what they wrote."""

    def __init__(self, shops: list[Shop], dice: random.Random, rate: float) -> None:
        self.entries: list[Entry] = []
        self._shops = shops
        self._dice = dice
        self._pause_s = 1 / rate
        self._quiet = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._quiet.clear()
            self._thread = threading.Thread(target=self._write, name="customers", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._quiet.set()
            thread.join(LIMIT_S)
            assert not thread.is_alive(), "the customers go on writing"

    def _write(self) -> None:
        while not self._quiet.wait(self._pause_s):
            shop = self._dice.choice(self._shops)
            customer = f"25571360{self._dice.randrange(CHATS):04}"
            number = self._dice.randrange(QUESTIONS)
            text = f"{shop.word}{number:02} {len(self.entries):07}"
            message_id = shop.say(customer, text)
            when = time.monotonic()
            self.entries.append(("in", shop.id, customer, message_id, False, when, text, when))


class BrowserArena:
    """Two tenants in real browsers, or fewer. ``start`` before all else, ``end`` whatever
    happened."""

    def __init__(
        self, home: Path, dice: random.Random, *, rate: float = 8.0, shops: int = len(WORDS)
    ) -> None:
        self._home = home / "daemon"
        self._phones = home / "phones"
        self._dice = dice
        self._rate = rate
        self._words = dict(list(WORDS.items())[:shops])
        self.simulator = Simulator(self._phones)
        self.daemon: Daemon | None = None
        self.shops: list[Shop] = []
        self.customers = Customers([], dice, rate)
        self.leaving = Leaving()
        """How long the browsers outlived each kill at a moment that we chose."""

    def start(self) -> None:
        self._home.mkdir()
        self._phones.mkdir()
        self.simulator.start()
        self.simulator.control("config", dedup_sends=False)
        more = {"FLOWHQ_LOGGING__LEVEL": "info", "FLOWHQ_SUPERVISOR__HEALTHY_RESET_S": "1"}
        self.daemon = Daemon(self._home, self.simulator.url, FLOWHQ_TEST_MODE="1", **more)
        self.daemon.start()
        pairs = self._words.items()
        self.shops = [Shop(self.daemon, self.simulator, *pair).open() for pair in pairs]
        self.customers = Customers(self.shops, self._dice, self._rate)

    def end(self) -> None:
        self.customers.stop()
        if self.daemon is not None:
            self.daemon.program.end()
        self.leaving.seconds()
        self.simulator.program.end()

    def load(self) -> None:
        self.customers.start()

    def strike(self, blow: Blow) -> None:
        match blow.kind:
            case Kind.KILL:
                self._revive()
                wait(blow.after_s)
                self._kill()
            case Kind.POINT:
                self._die_at(blow.name)
            case Kind.STOP:
                self._revive()
                self._stop_postgres()
            case Kind.BROWSER:
                self._revive()
                self._connected()
                wait(blow.after_s)
                self._kill_one(blow.name)

    def conclude(self) -> Verdict:
        self._revive()
        self.customers.stop()
        self._connected()
        until(self._unsettled, lambda rows: not rows, "nothing waits", limit_s=SETTLED_LIMIT_S)
        return self._verdict()

    def said(self) -> int:
        return len(self.customers.entries)

    # -- inside --------------------------------------------------------------------------------

    @property
    def _running(self) -> Daemon:
        assert self.daemon is not None, "it was not started"
        return self.daemon

    def _revive(self) -> None:
        if self._running.program.exit_code is not None:
            self._running.start()

    def _connected(self) -> None:
        for shop in self.shops:
            until(
                partial(self._session, shop),
                lambda state: state == "CONNECTED",
                f"{shop.word} is connected",
            )

    def _session(self, shop: Shop) -> str:
        """The session's state, or how the API refuses to tell while PostgreSQL is away."""
        answer = self._running.api.ask("GET", shop.path)
        if answer.status == 503:
            return "unavailable"
        assert answer.status == 200, answer.content
        state: str = answer.json()["session"]["state"]
        return state

    def _kill(self) -> None:
        processes = self._running.processes()
        self.leaving.watch(processes[0], browsers_of(processes))
        self._running.kill()

    def _die_at(self, point: str) -> None:
        daemon = self._running
        if daemon.program.exit_code is None:
            daemon.kill()
        usual = daemon.program.settings
        daemon.program.settings = usual | {"FLOWHQ_TEST_KILL_POINT": point}
        daemon.program.launch()
        daemon.program.settings = usual
        assert daemon.program.wait(SETTLED_LIMIT_S) == -signal.SIGKILL

    def _stop_postgres(self) -> None:
        """The embedded server stops at once; the daemon starts it again."""
        server, *_ = [p for p in self._running.processes() if " -D " in command_of(p)]
        server.send_signal(signal.SIGQUIT)
        left = left_after([server], LIMIT_S)
        assert not left, f"PostgreSQL does not stop: {left}"

    def _kill_one(self, kind: str) -> None:
        shop = self._dice.choice(self.shops)
        for process in self._victims(shop, kind):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def _victims(self, shop: Shop, kind: str) -> list[psutil.Process]:
        match kind:
            case "driver":
                return [p for p in self._running.processes() if " run-driver" in command_of(p)]
            case "renderer":
                return shop.browser("renderer")
            case _:
                return [p for p in shop.browser() if " --type=" not in command_of(p)]

    def _unsettled(self) -> list[object]:
        try:
            return [*sorted(self._verdict().missing)[:3], *self._running.query(WAITING)]
        except (OSError, asyncpg.PostgresError) as error:
            return [error]

    def _verdict(self) -> Verdict:
        url = EmbeddedPostgres(self._home / "postgres").dsn()
        arrived = [
            ("out", shop.id, message["to"], message["id"], message["text"], message["received_at"])
            for shop in self.shops
            for message in shop.sent()
        ]
        return judge([*self.customers.entries, *arrived], run_apart(Ledger.read(url)))
