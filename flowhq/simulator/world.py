"""The whole simulated WhatsApp: settings, accounts, pages on show, the network."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

from flowhq.simulator import ids
from flowhq.simulator.accounts import Account, Contact, Device, Frame, Wire, message_frame
from flowhq.simulator.clock import SimClock
from flowhq.simulator.events import EventLog
from flowhq.simulator.pairing import LiveRef, RefBook, ScannedCode
from flowhq.simulator.settings import Settings
from flowhq.simulator.traffic import Traffic

ACCOUNTS_MAX = 10_000
DEVICES_PER_ACCOUNT_MAX = 100

CLOSE_BAD_FRAME = 4400
CLOSE_PROOF_REFUSED = 4401
CLOSE_REPLACED = 4409
CLOSE_NETWORK = 4503

# "The user removed this device", as far as the page needs to know.
REASON_REMOVED = 0


class UnknownAccount(Exception):
    """No phone with this number was ever linked."""


class TooMany(Exception):
    """A bound of the simulator is reached."""


@dataclasses.dataclass(frozen=True)
class PastMessage:
    """A message from before the pairing. `t` None: one second after the one before."""

    customer: str
    text: str
    t: int | None = None
    from_me: bool = False


@dataclasses.dataclass(frozen=True)
class Owner:
    """The phone that scans, with what it syncs to a new device."""

    phone: str
    name: str | None = None
    lid: str | None = None
    contacts: tuple[Contact, ...] = ()
    history: tuple[PastMessage, ...] = ()


class World:
    """Owns everything; `reset` makes it as new. Nothing in it waits."""

    def __init__(
        self, clock: SimClock | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock or SimClock()
        self._monotonic = monotonic
        self.wires: set[Wire] = set()
        self.page_numbers = itertools.count(1)
        self._start()

    def _start(self) -> None:
        self.settings = Settings()
        self.events = EventLog(self.clock)
        self.refs = RefBook(self.clock)
        self.accounts: dict[str, Account] = {}
        self.devices: dict[str, Device] = {}
        self.traffic = Traffic(self.clock, self.events, lambda: self.settings)
        self._away_until = 0.0
        self.hard_drop = False

    def reset(self) -> None:
        """Forgets everything, closes every socket, ends every long poll."""
        self.end_waits()
        for wire in list(self.wires):
            wire.close(CLOSE_NETWORK, "reset")
        self.clock.set_offset(0.0)
        self._start()

    def end_waits(self) -> None:
        self.events.close()
        for account in self.accounts.values():
            account.close()

    def configure(self, changes: dict[str, Any]) -> None:
        told = self.settings.for_page()
        self.settings = dataclasses.replace(self.settings, **changes)
        if self.settings.for_page() != told:
            for wire in self.wires:
                wire.push({"k": "config", **self.settings.for_page()})
        if "send" in changes:
            for account in self.accounts.values():
                self.traffic.release_held(account)

    def account(self, phone: str) -> Account:
        account = self.accounts.get(phone)
        if account is None:
            raise UnknownAccount(phone)
        return account

    def scan(self, code: ScannedCode, owner: Owner) -> Device:
        """Links the page that shows the code; ScanRefused leaves everything as it was."""
        self._check_room(owner.phone)
        return self._link(self.refs.redeem(code), owner)

    def scan_on_show(self, ref: str | None, page: int | None, owner: Owner) -> Device:
        """Links a page that shows a code now: the one named, or the one with the newest code."""
        self._check_room(owner.phone)
        return self._link(self.refs.redeem_on_show(ref, page), owner)

    def _check_room(self, phone: str) -> None:
        account = self.accounts.get(phone)
        if account is None and len(self.accounts) >= ACCOUNTS_MAX:
            raise TooMany(f"there are {ACCOUNTS_MAX} accounts already")
        if account is not None and len(account.devices) >= DEVICES_PER_ACCOUNT_MAX:
            raise TooMany(f"the account has {DEVICES_PER_ACCOUNT_MAX} devices already")

    def _link(self, live: LiveRef, owner: Owner) -> Device:
        account = self._account_of(owner)
        for contact in owner.contacts:
            account.remember_contact(contact)
        # A page that reloads after the scan loses what its first login brought.
        logins = 2 if self.settings.reload_after_pair else 1
        device = Device(ids.new_device_id(), owner.phone, self.clock.now(), logins)
        device.history = self._history(account, owner.history)
        account.devices[device.id] = device
        self.devices[device.id] = device
        live.page.paired(device)
        self.events.record("paired", phone=account.phone, device=device.id, ref=live.ref)
        return device

    def _account_of(self, owner: Owner) -> Account:
        account = self.accounts.get(owner.phone)
        if account is None:
            lid = owner.lid or ids.made_up_lid(owner.phone)
            account = self.accounts[owner.phone] = Account(owner.phone, lid, owner.name or "")
        account.lid = owner.lid or account.lid
        account.name = owner.name or account.name
        return account

    def _history(self, account: Account, past: tuple[PastMessage, ...]) -> list[Frame]:
        frames: list[Frame] = []
        t = self.clock.unix() - len(past) - 1
        for message in past:
            t = t + 1 if message.t is None else message.t
            contact = account.contacts.get(message.customer)
            frames.append(
                message_frame(
                    account,
                    message_id=ids.new_phone_message_id(),
                    chat=ids.person_jid(message.customer),
                    from_me=message.from_me,
                    text=message.text,
                    t=t,
                    notify=account.name if message.from_me else contact.name if contact else "",
                    ack=3 if message.from_me else 1,
                )
            )
        return self._own_past(account) + frames

    def _own_past(self, account: Account) -> list[Frame]:
        """The newest messages of the account's chats, as far as `history_sync` asks for them."""
        frames = []
        limit = self.settings.history_sync
        for chat in account.conversations.newest(1000) if limit else ():
            jid = chat.key if "@" in chat.key else ids.person_jid(chat.key)
            frames += [
                message_frame(
                    account,
                    message_id=bubble.id,
                    chat=jid,
                    from_me=bubble.by != "customer",
                    text=bubble.text,
                    t=bubble.t,
                    notify=chat.name,
                    kind=bubble.type,
                    ack=bubble.ack,
                )
                for bubble in list(chat.bubbles)[-limit:]
            ]
        return frames

    def add_contacts(self, account: Account, contacts: list[Contact]) -> None:
        """Changes the address book and tells the pages that are online."""
        for contact in contacts:
            account.remember_contact(contact)
        frame = {"k": "contacts", "contacts": [contact.as_frame() for contact in contacts]}
        for device in account.devices.values():
            if device.wire is not None:
                device.wire.push(frame)

    def unlink(self, device: Device, reason: int = REASON_REMOVED, *, by: str = "phone") -> None:
        """Forgets the device and tells its page."""
        self.devices.pop(device.id, None)
        self.account(device.phone).devices.pop(device.id, None)
        wire, device.wire = device.wire, None
        if wire is not None:
            wire.remove(reason)
        self.events.record("device_removed", phone=device.phone, device=device.id, by=by)

    def drop(self, seconds: float, *, hard: bool, account: Account | None = None) -> int:
        """Cuts the sockets and refuses new ones for that long; how many were cut."""
        until = self._monotonic() + seconds
        self.hard_drop = hard
        if account is None:
            self._away_until = until
            wires = list(self.wires)
        else:
            account.away_until = until
            wires = [device.wire for device in account.devices.values() if device.wire]
        for wire in wires:
            wire.close(CLOSE_NETWORK, "network dropped", hard=hard)
        return len(wires)

    def restore(self, account: Account | None = None) -> None:
        """Ends a drop; with no account named, every drop."""
        if account is not None:
            account.away_until = 0.0
            return
        self._away_until = 0.0
        for each in self.accounts.values():
            each.away_until = 0.0

    def away_for_s(self, account: Account | None = None) -> float:
        """Seconds for which sockets (of the account) are still refused."""
        until = self._away_until if account is None else max(self._away_until, account.away_until)
        return max(until - self._monotonic(), 0.0)
