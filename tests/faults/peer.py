"""The other side of the fake channel, as a process of its own: accounts, pages, customers.

Spoken to over a socket in lines of JSON. A connection's first line says what it is: a page
(``{"page": tenant}``) or a commander (``{"command": name, ...}``, one answer each).

    python -m tests.faults.peer SOCKET JOURNAL
"""

import asyncio
import contextlib
import dataclasses
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tests.faults.accounts import Account, Habits, Journal
from tests.faults.traffic import Traffic

LINE_MAX_BYTES = 64_000_000


class Peer:
    """All accounts of one run."""

    def __init__(self, journal: Journal, seed: int = 0) -> None:
        self.journal = journal
        self.habits = Habits()
        self.accounts: dict[str, Account] = {}
        self.dice = random.Random(seed)
        self.traffic = Traffic(self.accounts, self.dice)
        self._offset_s = 0.0
        self._history_open = asyncio.Event()
        self._history_open.set()

    # -- pages ---------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while line := await reader.readline():
                    given = orjson.loads(line)
                    if "page" in given:
                        await self._page(self.accounts[given["page"]], reader, writer, group)
                        return
                    answer = self.command(given.pop("command"), given)
                    await _write(writer, {"error": None, **answer})
        except* (ConnectionError, ValueError):
            pass  # a page that was killed in the middle of a line
        finally:
            writer.close()

    async def _page(
        self,
        account: Account,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        group: asyncio.TaskGroup,
    ) -> None:
        def tell(event: dict[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(orjson.dumps(event) + b"\n")

        account.attach(tell)
        crash = group.create_task(_crash(account, tell))
        try:
            while line := await reader.readline():
                call = orjson.loads(line)
                if not account.hung:
                    group.create_task(self._answer(account, call, tell))
        finally:
            crash.cancel()
            account.detach(tell)

    async def _answer(
        self, account: Account, call: dict[str, Any], tell: Callable[[dict[str, Any]], None]
    ) -> None:
        answer = self._asked(account, call)
        takes = {"send": self.habits.delay_ms, "history": self.habits.history_ms}
        if mean_ms := takes.get(call["call"], 0.0):
            await asyncio.sleep(self.dice.uniform(0, 2 * mean_ms / 1000))
        if call["call"] == "history":
            await self._history_open.wait()
        if answer is not None:
            tell({"n": call["n"], **answer})

    def _asked(self, account: Account, call: dict[str, Any]) -> dict[str, Any] | None:
        """What the page answers, as of now; None when it never does."""
        match call["call"]:
            case "send":
                return account.send(call["to"], call["text"], call["id"])
            case "look_up":
                return {"ack": account.look_up(call["id"])}
            case "history":
                found = account.history(call["chat"], call["since"], call["limit"])
                return {"messages": found}
            case "chats":
                return {"chats": account.chats()}
            case "probe":
                return {"connected": account.linked}
            case "log_out":
                account.linked = False
                return {}
            case other:
                return {"error": f"no such call: {other}"}

    # -- commands --------------------------------------------------------------------------------

    def command(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        commands: dict[str, Callable[..., dict[str, Any] | None]] = {
            "account": self._account,
            "habits": self._habits,
            "clock": self._clock,
            "state": self._state,
            "counts": self._counts,
            "say": self._say,
            "say_all": self._say_all,
            "tell": self._tell,
            "release": self._release,
            "forget": self._forget,
            "crash": self._crash,
            "change": self._change,
            "log_out": self._log_out,
            "traffic": self.traffic.change,
        }
        try:
            return commands[name](**given) or {}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"{name}: {error!r}"}

    def _account(self, tenant: str, phone: str, word: str) -> None:
        """A number exists from now on, linked, with a history of its own."""
        dice = random.Random(self.dice.getrandbits(64))
        self.accounts[tenant] = Account(tenant, phone, word, self.journal, self.habits, dice)
        self.accounts[tenant].offset_s = self._offset_s

    def _habits(self, **changes: Any) -> dict[str, Any]:
        for name, value in changes.items():
            if not hasattr(self.habits, name):
                raise ValueError(name)
            setattr(self.habits, name, value)
        if self.habits.gate_history:
            self._history_open.clear()
        else:
            self._history_open.set()
        return dataclasses.asdict(self.habits)

    def _clock(self, offset_s: float) -> None:
        """Move the platform's clock: times of messages from now on."""
        self._offset_s = offset_s
        for account in self.accounts.values():
            account.offset_s = offset_s

    def _state(self) -> dict[str, Any]:
        return {
            "accounts": {
                tenant: {
                    "attached": account.tell is not None,
                    "document": account.document,
                    "sends": account.sends[-200:],
                    "sent": len(account.sends),
                    "arrived": len(account.arrived),
                    "looked_up": account.looked_up,
                    "readings": account.readings,
                }
                for tenant, account in self.accounts.items()
            },
            "said": self.traffic.said,
        }

    def _counts(self) -> dict[str, Any]:
        arrived = sum(len(account.arrived) for account in self.accounts.values())
        return {"said": self.traffic.said, "arrived": arrived}

    def _say(self, tenant: str, chat: str, text: str, **more: Any) -> dict[str, Any]:
        return {"message": self.accounts[tenant].say(chat, text, **more)}

    def _say_all(self, tenant: str, said: list[dict[str, Any]]) -> None:
        """Many messages at once, in this order."""
        for message in said:
            self.accounts[tenant].say(**message)

    def _tell(self, tenant: str, event: dict[str, Any]) -> None:
        self.accounts[tenant].inject(event)

    def _release(self, tenant: str = "") -> None:
        for account in self._chosen(tenant):
            account.release()
            account.flush()

    def _forget(self, tenant: str, message_id: str) -> None:
        """The page's store loses an own message."""
        account = self.accounts[tenant]
        lost = account.own.pop(message_id)
        account.store[lost["chat"]].remove(lost)

    def _crash(self, tenant: str) -> None:
        account = self.accounts[tenant]
        if account.tell is not None:
            account.tell({"crashed": True})

    def _change(self, tenant: str, **changes: Any) -> None:
        account = self.accounts[tenant]
        for name, value in changes.items():
            if name == "hung":
                account.hang(value)
            elif name in ("crash_after_s", "linked"):
                setattr(account, name, value)
            else:
                raise ValueError(name)

    def _log_out(self, tenant: str) -> None:
        self.accounts[tenant].log_out()

    def _chosen(self, tenant: str) -> list[Account]:
        return [self.accounts[tenant]] if tenant else list(self.accounts.values())


async def _crash(account: Account, tell: Callable[[dict[str, Any]], None]) -> None:
    """A page with that habit crashes a while after its start."""
    if account.crash_after_s is not None:
        await asyncio.sleep(account.crash_after_s)
        tell({"crashed": True})


async def _write(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(orjson.dumps(answer) + b"\n")
    await writer.drain()


async def run(socket: Path, journal_path: Path) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    journal = Journal(journal_path)
    peer = Peer(journal)
    server = await asyncio.start_unix_server(peer.serve, socket, limit=LINE_MAX_BYTES)
    with contextlib.closing(journal):
        await stop.wait()
        server.close()
        await peer.traffic.stop()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2])))
