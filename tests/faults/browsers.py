"""The whole product as an arena: daemon, real browsers, wa-js, and the simulator outside of it.

What customers and owners wrote and what reached the phones is the simulator's record, put into the
form of a journal. It says little about replies that the daemon sends twice: the page knows their
ids and answers for them without a word to the server, and what a page itself repeats, because it
died before it had the server's answer, the server drops. That is shown by the simulated channel,
where every repeat is a message of its own.
"""

import random
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg
import psutil

from flowhq.db.embedded import EmbeddedPostgres
from tests.acceptance.parts import Daemon, Simulator
from tests.acceptance.programs import LIMIT_S, command_of, left_after, until
from tests.acceptance.shop import QUESTIONS, Shop
from tests.faults.campaign import Blow, Kind
from tests.faults.journal import Entry
from tests.faults.leaving import Leaving, browsers_of
from tests.faults.traffic import OwnersChats
from tests.faults.verdict import Ledger, Verdict, judge
from tests.faults.world import WAITING, wait
from tests.pg import run_apart

WORDS = {"zuhura": "255754000031", "bakari": "255754000032"}
CHATS = 6
# More than in the long runs: here few messages are written.
OWNER_SHARE = 0.1
# After a restart a send in doubt gets a minute to be acknowledged before it is asked for again.
SETTLED_LIMIT_S = 180.0
VERDICT_POLL_S = 0.5


class Customers:
    """They and the shops' owners write at a rate from a thread of their own, chosen by the dice;
    ``texts`` is what they wrote, by its id."""

    def __init__(self, shops: list[Shop], dice: random.Random, rate: float) -> None:
        self.texts: dict[str, str] = {}
        self._shops = shops
        self._dice = dice
        self._owners = {shop.word: OwnersChats(dice) for shop in shops}
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
            customer, by_owner = 13_600_000 + self._dice.randrange(CHATS), False
            if self._dice.random() < OWNER_SHARE:
                customer, by_owner = self._owners[shop.word].next()
            number = self._dice.randrange(QUESTIONS)
            text = "Nimekujibu." if by_owner else f"{shop.word}{number:02} {len(self.texts):07}"
            message_id = shop.say(f"2557{customer:08}", text, from_me=by_owner)
            self.texts[message_id] = text


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
                # A daemon that has not begun all of its tenants ends without PostgreSQL, to be
                # started again.
                self._connected()
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
        until(
            self._unsettled,
            lambda rows: not rows,
            "nothing waits",
            limit_s=SETTLED_LIMIT_S,
            poll_s=VERDICT_POLL_S,
        )
        return self._verdict()

    def said(self) -> int:
        return len(self.customers.texts)

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
        """Whatever of that kind there is of one shop, as soon as there is something."""
        shop = self._dice.choice(self.shops)
        until(partial(self._killed, shop, kind), bool, f"there is a {kind} to kill")

    def _killed(self, shop: Shop, kind: str) -> int:
        """How many were killed just now."""
        count = 0
        for process in self._victims(shop, kind):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
            count += 1
        return count

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
        ledger = run_apart(Ledger.read(url))
        return judge(self._journal(), ledger)

    def _journal(self) -> Iterator[Entry]:
        """The simulator's record of all that happened, in its order."""
        shops = {shop.phone: shop for shop in self.shops}
        events = self.simulator.events("message", "sent", "online")
        sent = {shop.phone: iter(shop.sent()) for shop in self.shops}
        for event in events:
            shop, at = shops[event["phone"]], event["at"]
            match event["event"]:
                case "message":
                    text = self.customers.texts.get(event["id"], "")
                    message = (event["customer"], event["id"], event["from_me"], at, text)
                    yield ("in", shop.id, *message, at)
                case "sent":
                    reply = next(sent[shop.phone])
                    yield ("out", shop.id, reply["to"], reply["id"], reply["text"], at)
                case _:
                    yield ("online", shop.id, "", "", at)
