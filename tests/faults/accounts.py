"""One simulated account: what its page would hold, what its customers got, and its bad habits.

Kept outside the daemon's process, so that nothing that happens to the daemon changes it. Whatever
happens is written to the journal before anybody is told.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

SendMode = Literal["ok", "refuse", "lose", "lose_ack", "hold"]
Tell = Callable[[dict[str, Any]], None]
# More than a page gives back of a chat; a soak's chats hold far fewer.
STORE_MAX = 5200
# Messages told again to a page that was away; the rest it has to read from the store.
MISSED_MAX = 400
PENDING, SERVER, DELIVERED = 0, 1, 2


class Journal:
    """What happened, one JSON array a line, written through at once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, *entry: object) -> None:
        """The entry and when it was written, in seconds that all processes share."""
        self._file.write(orjson.dumps((*entry, time.monotonic())) + b"\n")

    def close(self) -> None:
        self._file.close()


@dataclass
class Habits:
    """How the platform behaves; all of it can be changed while it runs.

    ``repeats``: an id that was sent before arrives again ("accept") or not ("drop").
    ``gate_history``: readings of the store are answered only once this is off again, with what was
    there when they were asked for. ``redeliver``: a page that was away is told live what it missed.
    """

    send: SendMode = "ok"
    repeats: Literal["accept", "drop"] = "accept"
    delay_ms: float = 0.0
    receipts: float = 0.0
    """Share of what was sent that is acknowledged as delivered."""
    duplicates: float = 0.0
    """Share of the live messages that are told twice."""
    swaps: float = 0.0
    """Share of the live messages that are told only after the next one of another chat."""
    gate_history: bool = False
    history_ms: float = 0.0
    """A reading of the store takes about so long; it gives what was there at its beginning."""
    redeliver: bool = True


@dataclass
class Account:
    """One tenant's number. ``tell`` is the page's connection while there is one."""

    tenant: str
    phone: str
    word: str
    journal: Journal
    habits: Habits
    dice: random.Random
    offset_s: float = 0.0
    tell: Tell | None = None
    document: int = 0
    linked: bool = True
    hung: bool = False
    """Its page answers nothing any more, not even probes; one that comes to be meanwhile begins
    when the hang ends."""
    crash_after_s: float | None = None
    """Its page crashes so long after each start."""
    store: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    sends: list[str] = field(default_factory=list)
    """Ids in the order in which the page was asked to send them, repeats included."""
    looked_up: int = 0
    readings: int = 0
    _held: list[dict[str, Any]] = field(default_factory=list)
    _missed: list[dict[str, Any]] = field(default_factory=list)
    _late: dict[str, Any] | None = None
    _begun: bool = False
    """The page that is there tells what happens."""

    # -- customers and the owner --------------------------------------------------------------

    def say(self, chat: str, text: str, **more: Any) -> dict[str, Any]:
        """A message comes to be: in the journal, in the store, and live if a page listens."""
        user, _, server = chat.partition("@")
        message = {
            "id": more.get("id") or f"3A{self.dice.getrandbits(72):018X}",
            "chat": chat,
            "from_me": bool(more.get("from_me")),
            "text": text,
            "t": int(more.get("t") or self.now()),
            "phone": more.get("phone", user if server == "c.us" else ""),
            "lid": more.get("lid", user if server == "lid" else ""),
        }
        self.journal.write(
            "in", self.tenant, chat, message["id"], message["from_me"], message["t"], text
        )
        self._keep(message, SERVER)
        if more.get("live", True):
            self.show(message)
        return message

    def show(self, message: dict[str, Any]) -> None:
        """Tell the page of a message, as often and as late as the habits want."""
        if self.tell is None or not self._begun:
            if len(self._missed) < MISSED_MAX:
                self._missed.append(message)
            return
        if self._late is None and self.dice.random() < self.habits.swaps:
            self._late = message
            return
        late, self._late = self._late, None
        told = [message] if late is None else [late, message]
        if late is not None and late["chat"] != message["chat"]:
            told.reverse()
        for one in told:
            self._event(message=one)
            if self.dice.random() < self.habits.duplicates:
                self._event(message=one)

    def flush(self) -> None:
        """Tell what was kept back to come late."""
        late, self._late = self._late, None
        if late is not None:
            self._event(message=late)

    # -- the page ------------------------------------------------------------------------------

    def attach(self, tell: Tell) -> None:
        """A page is there."""
        self.tell, self._begun = tell, False
        self.document += 1
        self.journal.write("page", self.tenant, "", "")
        if not self.hung:
            self._begin()

    def hang(self, hung: bool) -> None:
        """The page hangs from now on, or no longer."""
        self.hung = hung
        if not hung and self.tell is not None and not self._begun:
            self._begin()

    def _begin(self) -> None:
        """What the page missed comes around its Ready, some of it before."""
        self._begun = True
        if not self.linked:
            self._event(qr="ref,noise,identity,adv,1")
            return
        missed, self._missed, self._late = self._missed, [], None
        if not self.habits.redeliver:
            missed = []
        early = self.dice.randrange(len(missed) + 1)
        for message in missed[:early]:
            self._event(message=message)
        self.ready()
        for message in missed[early:]:
            self._event(message=message)

    def inject(self, event: dict[str, Any]) -> None:
        """Tell the page something that is in no store. ValueError: there is no page."""
        if self.tell is None:
            raise ValueError("no page listens")
        message = event.get("message")
        if message is not None and not message["from_me"]:
            self.journal.write("told", self.tenant, message["chat"], message["id"], message["text"])
        self.tell(event)

    def ready(self) -> None:
        self._event(ready=self.document, phone=self.phone, lid=f"9{self.phone}")

    def detach(self, tell: Tell) -> None:
        if self.tell is tell:
            self.tell = None

    def log_out(self) -> None:
        self.linked = False
        self._event(logged_out="user")
        self._event(qr="ref,noise,identity,adv,2")

    def send(self, to: str, text: str, message_id: str) -> dict[str, Any] | None:
        """What the page answers; None when it does not."""
        self.sends.append(message_id)
        mode = self.habits.send
        if mode == "refuse":
            return {"error": "refused"}
        if mode == "lose":
            return None
        message = self.own.get(message_id)
        if message is None:
            user, _, server = to.partition("@")
            phone, lid = (user, "") if server == "c.us" else ("", user)
            known = {"id": message_id, "chat": to, "from_me": True, "text": text}
            message = {**known, "t": int(self.now()), "phone": phone, "lid": lid}
            self._keep(message, PENDING)
            self._event(message=message)
        if mode == "hold":
            self._held.append(message)
            return None
        self._arrive(message)
        return None if mode == "lose_ack" else {"ack": SERVER}

    def release(self) -> None:
        """What was held goes out, and its acks come."""
        held, self._held = self._held, []
        for message in held:
            self._arrive(message)
            self._event(acked=[message["id"]], ack=SERVER)

    def look_up(self, message_id: str) -> int | None:
        self.looked_up += 1
        message = self.own.get(message_id)
        return None if message is None else int(message["ack"])

    def history(self, chat: str, since: float | None, limit: int) -> list[dict[str, Any]]:
        """What a page is given, as of now."""
        self.readings += 1
        self.journal.write("read", self.tenant, chat, "")
        found = [m for m in self.store.get(chat, []) if since is None or m["t"] >= since]
        return sorted(found, key=lambda message: message["t"])[-limit:]

    def chats(self) -> list[dict[str, Any]]:
        heads = [
            {"chat": chat, "t": max(m["t"] for m in found), "phone": found[-1]["phone"]}
            for chat, found in self.store.items()
        ]
        return sorted(heads, key=lambda head: head["t"], reverse=True)

    def now(self) -> float:
        return time.time() + self.offset_s

    # -- inside --------------------------------------------------------------------------------

    def _keep(self, message: dict[str, Any], ack: int) -> None:
        kept = self.store.setdefault(message["chat"], [])
        message["ack"] = ack
        kept.append(message)
        if message["from_me"]:
            self.own[message["id"]] = message
        if len(kept) > STORE_MAX:
            self.own.pop(kept.pop(0)["id"], None)

    def _arrive(self, message: dict[str, Any]) -> None:
        message["ack"] = max(message["ack"], SERVER)
        if message["id"] in self.arrived and self.habits.repeats == "drop":
            return
        self.arrived.add(message["id"])
        self.journal.write("out", self.tenant, message["chat"], message["id"], message["text"])
        if self.dice.random() < self.habits.receipts:
            message["ack"] = DELIVERED
            self._event(acked=[message["id"]], ack=DELIVERED)

    def _event(self, **event: Any) -> None:
        if self.tell is not None:
            self.tell(event)
