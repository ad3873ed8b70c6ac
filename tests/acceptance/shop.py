"""A tenant, its phone and its customers, seen through the admin API and the simulated phones."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil

from tests.acceptance.parts import Daemon, Simulator
from tests.acceptance.programs import LIMIT_S, Answer, command_of, naming, until

# Enough to tell the messages of a chat apart; the tenant's list may have 100.
QUESTIONS = 20


class Shop:
    """One tenant. It answers ``<word>07`` with ``Jibu <word>07.``, and so for each question, so
    that a reply tells whose it is and to which message."""

    def __init__(self, daemon: Daemon, simulator: Simulator, word: str, phone: str) -> None:
        self.daemon = daemon
        self.simulator = simulator
        self.word = word
        self.phone = phone
        self.id = ""
        self._read = 0

    # -- the operator's side ----------------------------------------------------------------------

    @property
    def path(self) -> str:
        return f"/admin/tenants/{self.id}"

    @property
    def profile(self) -> Path:
        return self.daemon.profiles / self.id

    def create(self) -> "Shop":
        body = {
            "name": f"Duka {self.word}",
            "phone_number": f"+{self.phone}",
            "template_type": "BOOKING",
            "language": "SW",
            "details": {"faq": [self._question(number) for number in range(QUESTIONS)]},
        }
        self.id = self.daemon.api.call("POST", "/admin/tenants", body)["id"]
        return self

    def open(self) -> "Shop":
        """Created, started, scanned: it answers customers."""
        self.create()
        self.verb("worker/start")
        self.scan()
        self.wait_for("CONNECTED")
        self.wait_until_caught_up()
        return self

    def wait_until_caught_up(self) -> None:
        """What is written before, though it is connected, is its past: one answer a chat."""
        log = self.daemon.logs / "tenants" / f"{self.id}.log"
        until(
            lambda: log.read_bytes() if log.exists() else b"",
            lambda text: b'"event":"caught up"' in text,
            f"{self.word} has caught up",
        )

    def verb(self, name: str) -> dict[str, Any]:
        """The outcome of a verb that must be done."""
        outcome: dict[str, Any] = self.daemon.api.call("POST", f"{self.path}/{name}")
        return outcome

    def try_verb(self, name: str) -> Answer:
        return self.daemon.api.ask("POST", f"{self.path}/{name}")

    def view(self) -> dict[str, Any]:
        view: dict[str, Any] = self.daemon.api.call("GET", self.path)
        return view

    def wait_for(self, session: str, *, limit_s: float = LIMIT_S) -> dict[str, Any]:
        return until(
            self.view,
            lambda view: bool(view["session"]["state"] == session),
            f"{self.word} is {session}",
            limit_s=limit_s,
        )

    def wait_for_reason(self, reason: str, *, limit_s: float = LIMIT_S) -> dict[str, Any]:
        return until(
            self.view,
            lambda view: bool(view["reason"] == reason),
            f"{self.word} is {reason}",
            limit_s=limit_s,
        )

    def code(self) -> str:
        """The text of the code on show, once there is one."""
        answer = self.daemon.api.ask("GET", f"{self.path}/qr?format=raw&wait=60")
        assert answer.status == 200, answer.content
        return answer.content.decode()

    def scan(self) -> None:
        """As a person does: read the code and, if it changed meanwhile, the next one."""
        until(
            lambda: self.simulator.control(
                "scan", qr=self.code(), phone=self.phone, name=f"Duka {self.word}"
            ),
            lambda answer: bool(answer["ok"]),
            f"{self.word} is scanned",
        )

    def logs(self, direction: str) -> list[dict[str, Any]]:
        """The newest 1,000 messages of the ledger that went this way, the oldest first."""
        page = self.daemon.api.call("GET", f"{self.path}/logs?limit=1000")
        items: list[dict[str, Any]] = page["items"][::-1]
        return [item for item in items if item["direction"] == direction]

    def changes(self) -> list[dict[str, Any]]:
        """What happened to its state, the oldest first."""
        items: list[dict[str, Any]] = self.daemon.api.call("GET", f"{self.path}/events?limit=1000")[
            "items"
        ]
        return items[::-1]

    def wait_until_back(self, after: int, *, limit_s: float = LIMIT_S) -> None:
        """Something happened after the first so many changes, and it is connected again."""
        until(
            lambda: [item["event"] for item in self.changes()[after:]],
            lambda events: events[-1:] == ["ready"],
            f"{self.word} is back",
            limit_s=limit_s,
        )

    def browser(self, kind: str = "") -> list[psutil.Process]:
        """Its browser's processes, or those of one kind such as ``renderer``."""
        return [
            process
            for process in naming(self.profile)
            if not kind or f"--type={kind}" in command_of(process)
        ]

    # -- the customers' side ----------------------------------------------------------------------

    def ask(self, customer: str, number: int) -> str:
        """A customer asks this question; the message's id."""
        return self.say(customer, f"{self.word}{number:02}")

    def say(self, customer: str, text: str, **more: object) -> str:
        sent = self.simulator.control(
            "message", phone=self.phone, text=text, **{"from": customer, **more}
        )
        message_id: str = sent["id"]
        return message_id

    def sent(self) -> list[dict[str, Any]]:
        """All that the customers' phones ever got from it, in that order."""
        found: list[dict[str, Any]] = self.simulator.control("outbox", phone=self.phone)["messages"]
        return found

    def replies(self) -> dict[str, list[str]]:
        """The texts at each customer's phone, in the order of arrival."""
        texts = defaultdict(list)
        for message in self.sent():
            texts[message["to"]].append(message["text"])
        return dict(texts)

    def wait_for_replies(
        self, count: int, *, customer: str = "", limit_s: float = LIMIT_S
    ) -> list[str]:
        """The texts that arrived, at one customer's phone or at all, once there are so many."""
        return until(
            lambda: [
                message["text"]
                for message in self.sent()
                if message["to"] == customer or not customer
            ],
            lambda texts: len(texts) >= count,
            f"{count} replies of {self.word}",
            limit_s=limit_s,
        )

    def answers(self, text: str) -> list[int]:
        """The numbers of the questions that a reply answers; one, if all is well."""
        return [number for number in range(QUESTIONS) if self._answer(number) in text]

    def first_answer(self, customer: str) -> list[int]:
        """The question answered by the first that this customer ever gets."""
        return self.answers(self.wait_for_replies(1, customer=customer)[0])

    def _answer(self, number: int) -> str:
        return f"Jibu {self.word}{number:02}."

    def _question(self, number: int) -> dict[str, Any]:
        return {"keywords": [f"{self.word}{number:02}"], "answer": self._answer(number)}
