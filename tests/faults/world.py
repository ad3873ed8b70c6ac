"""A daemon, its peer and its PostgreSQL as processes, and the record by which it is judged."""

import asyncio
import signal
import socket
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from tests.acceptance.parts import Daemon
from tests.acceptance.programs import LIMIT_S, START_LIMIT_S, Program, until
from tests.faults.journal import entries
from tests.faults.movedclock import make_offset
from tests.faults.postgres import SOURCE, Postgres, SlowWay
from tests.faults.traffic import OWNER_SHARE
from tests.faults.verdict import Ledger, Verdict, judge
from tests.vaults import MASTER_TEXT

QUESTIONS = 20
WORDS = ("zuhura", "bakari", "kichwe", "mwanzo", "pwani7", "tembea")

SETTINGS = {
    "FLOWHQ_TEST_MODE": "1",
    "FLOWHQ_LOGGING__LEVEL": "info",
    "FLOWHQ_LIMITS__SEND_TIMEOUT_S": "3",
    "FLOWHQ_LIMITS__CONTACT_WINDOW_S": "1",
    "FLOWHQ_LIMITS__LOOP_REPLIES_PER_MINUTE": "0",
    "FLOWHQ_SUPERVISOR__STAGGER_S": "0",
    # Pages and browsers fail all the time here: nobody is to be parked for it.
    "FLOWHQ_SUPERVISOR__RESTARTS_MAX": "1000",
    "FLOWHQ_SUPERVISOR__HEALTHY_RESET_S": "1",
    "FLOWHQ_ADMIN__REQUESTS_PER_S": "1000",
    "FLOWHQ_ADMIN__REQUESTS_BURST": "1000",
}

WAITING = """
SELECT 'inbox' AS place, state::text AS state, count(*) AS rows FROM inbox
WHERE state IN ('new', 'retry') GROUP BY state
UNION ALL
SELECT 'outbox', state::text, count(*) FROM outbox
WHERE state IN ('planned', 'sending', 'unknown') GROUP BY state
"""


# A platform that behaves, and one under load: slow answers, events told twice or late.
WELL = {"send": "ok", "delay_ms": 0, "history_ms": 0, "duplicates": 0, "swaps": 0, "receipts": 0}
LOADED = WELL | {
    "delay_ms": 10,
    "history_ms": 20,
    "duplicates": 0.05,
    "swaps": 0.05,
    "receipts": 0.1,
}


class Peer:
    """The peer's process, and a telephone line to it."""

    def __init__(self, home: Path) -> None:
        self.socket = home / "peer"
        self.journal = home / "journal"
        arguments = (str(self.socket), str(self.journal))
        self.program = Program("peer", home, "tests.faults.peer", *arguments, **SOURCE)

    def start(self) -> None:
        self.program.launch()
        until(self.socket.exists, bool, "the peer listens", limit_s=START_LIMIT_S)

    def command(self, name: str, **given: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(LIMIT_S)
            line.connect(str(self.socket))
            line.sendall(orjson.dumps({"command": name, **given}) + b"\n")
            with line.makefile("rb") as answers:
                answer: dict[str, Any] = orjson.loads(answers.readline())
        assert answer["error"] is None, answer["error"]
        return answer

    def habits(self, **changes: object) -> None:
        self.command("habits", **changes)

    def account(self, tenant: str) -> dict[str, Any]:
        found: dict[str, Any] = self.command("state")["accounts"][tenant]
        return found


class World:
    """All of it: ``daemon`` runs on ``postgres`` and talks to ``peer``. ``slow_way``: a proxy
    stands before PostgreSQL. ``sync``: PostgreSQL waits for the disk, as it does in earnest."""

    def __init__(
        self,
        home: Path,
        *,
        shops: int = 3,
        slow_way: bool = False,
        sync: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.postgres = Postgres(home, sync=sync)
        self.way = SlowWay(home, self.postgres) if slow_way else None
        self.peer = Peer(home)
        self.clock = home / "clock"
        make_offset(self.clock)
        master_key = home / "master.key"
        master_key.write_text(MASTER_TEXT)
        more = {
            "FLOWHQ_SECRETS__MASTER_KEY_FILE": str(master_key),
            "FLOWHQ_DATABASE__URL": self.way.url if self.way else self.postgres.url,
            "FLOWHQ_TEST_PEER": str(self.peer.socket),
            "FLOWHQ_TEST_CLOCK": str(self.clock),
        }
        self.daemon = PeerDaemon(home, **(SETTINGS | SOURCE | more | dict(settings or {})))
        self._shops = shops
        self.tenants: dict[str, str] = {}
        """Each tenant's word by its id."""

    @property
    def ids(self) -> list[str]:
        return list(self.tenants)

    def start(self) -> None:
        """Everything runs, and every tenant is connected."""
        self.postgres.start()
        if self.way is not None:
            self.way.start()
        self.peer.start()
        self.daemon.start()
        for number in range(self._shops):
            self.add_shop(number)
        self.wait_until_connected()

    def end(self) -> None:
        self.daemon.program.end()
        self.peer.program.end()
        if self.way is not None:
            self.way.program.end()
        self.postgres.end()

    def add_shop(self, number: int) -> str:
        word = WORDS[number] if number < len(WORDS) else f"duka{number:04}x"
        phone = f"2557540{number:05}"
        questions = [
            {"keywords": [f"{word}{n:02}"], "answer": f"Jibu {word}{n:02}."}
            for n in range(QUESTIONS)
        ]
        body = {
            "name": f"Duka {word}",
            "phone_number": f"+{phone}",
            "template_type": "BOOKING",
            "language": "SW",
            "details": {"faq": questions},
        }
        tenant: str = self.daemon.api.call("POST", "/admin/tenants", body)["id"]
        self.peer.command("account", tenant=tenant, phone=phone, word=word)
        self.tenants[tenant] = word
        self.daemon.api.call("POST", f"/admin/tenants/{tenant}/worker/start")
        return tenant

    def ask(self, tenant: str, chat: str, number: int, **more: object) -> str:
        """A customer asks; the message's id."""
        text = f"{self.tenants[tenant]}{number:02}"
        said = self.peer.command("say", tenant=tenant, chat=chat, text=text, **more)
        message_id: str = said["message"]["id"]
        return message_id

    def failures(self) -> list[dict[str, Any]]:
        """Every failure of a tenant's run so far."""
        return self.postgres.query(
            "SELECT tenant_id::text, reason, detail FROM tenant_events WHERE event = 'failed'"
            " ORDER BY id"
        )

    def view(self, tenant: str) -> dict[str, Any]:
        view: dict[str, Any] = self.daemon.api.call("GET", f"/admin/tenants/{tenant}")
        return view

    def load(
        self, rate: float, *, chats: int = 8, owners: float = OWNER_SHARE, **habits: object
    ) -> None:
        """Customers write, so many messages a second over all tenants; ``owners``: the share in
        chats in which an owner writes too."""
        self.peer.habits(**(LOADED | habits))
        self.peer.command("traffic", rate=rate, chats=chats, owners=owners)

    def quiet(self) -> None:
        """Nobody writes, and the platform behaves."""
        self.peer.command("traffic", rate=0)
        self.peer.habits(**WELL)

    def settle(self, *, limit_s: float = 150.0) -> Verdict:
        """After a quiet while: nothing waits, and the verdict is clean."""
        self.quiet()
        self.wait_until_settled(limit_s=limit_s)
        verdict = self.verdict()
        assert verdict.clean, str(verdict)
        return verdict

    # -- waiting -------------------------------------------------------------------------------

    def wait_until_connected(self, *, limit_s: float = LIMIT_S) -> None:
        """Every page is there, and the daemon knows it. Without the page it would say nothing: the
        rows of a daemon that was killed stay."""
        self.wait_until_attached(limit_s=limit_s)
        until(
            lambda: self.postgres.query(
                "SELECT count(*) FROM whatsapp_sessions WHERE state = 'CONNECTED'"
            )[0]["count"],
            lambda count: bool(count >= len(self.tenants)),
            "every tenant is connected",
            limit_s=limit_s,
            poll_s=0.1,
        )

    def wait_until_attached(self, *, limit_s: float = LIMIT_S) -> None:
        """Every tenant's page is there; what the daemon makes of it is its business."""
        until(
            lambda: [name for name, seen in self._accounts().items() if not seen["attached"]],
            lambda away: not away,
            "every page is back",
            limit_s=limit_s,
        )

    def wait_until_settled(self, *, limit_s: float = 150.0, poll_s: float = 0.25) -> None:
        """All that the peer's journal has is recorded, and nothing waits any more."""
        until(
            self._unsettled,
            lambda rows: not rows,
            "nothing waits any more",
            limit_s=limit_s,
            poll_s=poll_s,
        )

    def _unsettled(self) -> list[Any]:
        try:
            # In this order: what is recorded in between is waiting.
            return sorted(self.verdict().missing)[:3] or self.postgres.query(WAITING)
        except (OSError, asyncpg.PostgresError) as error:
            return [error]

    def _accounts(self) -> Mapping[str, Any]:
        accounts: Mapping[str, Any] = self.peer.command("state")["accounts"]
        return accounts

    def arrivals(self, chats: Container[str]) -> list[str]:
        """The texts that reached these chats of any tenant, in order."""
        found = map(orjson.loads, self.peer.journal.read_bytes().splitlines())
        return [entry[4] for entry in found if entry[0] == "out" and entry[2] in chats]

    # -- judging -------------------------------------------------------------------------------

    def arrived(self) -> int:
        """Replies that reached customers so far, without repeats."""
        return sum(account["arrived"] for account in self._accounts().values())

    def verdict(self, tenants: Container[str] | None = None) -> Verdict:
        """The peer's record against the database, as of now; of these tenants, or of all."""
        ledger = asyncio.run(Ledger.read(self.postgres.url))
        return judge(entries(self.peer.journal), ledger, tenants)


class PeerDaemon(Daemon):
    """The acceptance suite's daemon, with the peer in place of browsers."""

    def __init__(self, home: Path, **settings: str) -> None:
        # Nothing is ever fetched from this address: it says that no real account is at stake.
        super().__init__(home, "http://127.0.0.1:9/", **settings)
        self.settings = self.program.settings
        self.program = Program("daemon", home, "tests.faults.fake_daemon", **self.settings)

    def start(self, *, kill_point: str = "") -> None:
        """Return when the API answers; with a kill point it will die of it later."""
        self._arm(kill_point)
        super().start()

    def launch(self, *, kill_point: str = "") -> None:
        """Start it without waiting: it may die of its kill point before it answers."""
        self._arm(kill_point)
        self.program.launch()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after this signal. Peer and PostgreSQL are not its own and stay."""
        self.program.signal(number)
        return self.program.wait()

    def kill(self) -> None:
        """kill -9."""
        self.program.signal(signal.SIGKILL)
        self.program.wait()

    def wait_until_dead(self, *, limit_s: float = LIMIT_S) -> None:
        """It killed itself at its point."""
        assert self.program.wait(limit_s) == -signal.SIGKILL

    def _arm(self, kill_point: str) -> None:
        armed = {"FLOWHQ_TEST_KILL_POINT": kill_point} if kill_point else {}
        self.program.settings = self.settings | armed

    def health(self) -> dict[str, Any]:
        details: dict[str, Any] = self.api.call("GET", "/health/details")
        return details


@contextmanager
def running(world: World) -> Iterator[World]:
    try:
        world.start()
        yield world
    finally:
        world.end()


def wait(seconds: float) -> None:
    """Let a fault last: time itself is what is tested here, not a stand-in for a condition."""
    time.sleep(seconds)
