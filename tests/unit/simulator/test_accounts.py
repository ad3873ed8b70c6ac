"""What waits for a device, and in which order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.simulator import accounts, conversations
from flowhq.simulator.accounts import Account, Contact, Device, Send, SentMessage
from flowhq.simulator.conversations import Bubble, Conversations


def device() -> Device:
    return Device("d", "255700000001", 0.0, 1)


def test_frames_leave_in_order_and_stay_until_confirmed() -> None:
    queue = device()
    for n in range(3):
        assert queue.enqueue({"n": n})
    sent = [queue.next_frame() for _ in range(3)]
    assert [frame and frame["n"] for frame in sent] == [0, 1, 2]
    assert queue.next_frame() is None
    assert (queue.queued, queue.unsent) == (3, 0)
    assert queue.acknowledge(2) == {"n": 1, "seq": 2}
    assert queue.acknowledge(2) is None
    assert queue.acknowledge(77) is None
    queue.rewind()
    assert [queue.next_frame(), queue.next_frame(), queue.next_frame()] == [
        {"n": 0, "seq": 1},
        {"n": 2, "seq": 3},
        None,
    ]


@given(st.lists(st.sampled_from(["enqueue", "send", "acknowledge", "lose"]), max_size=60))
def test_whatever_happens_nothing_unconfirmed_is_lost_or_reordered(steps: list[str]) -> None:
    queue = device()
    added: list[int] = []
    confirmed: set[int] = set()
    handed_out: list[int] = []
    for step in steps:
        if step == "enqueue":
            queue.enqueue({})
            added.append(len(added) + 1)
        elif step == "send" and (frame := queue.next_frame()) is not None:
            handed_out.append(frame["seq"])
        elif step == "acknowledge" and handed_out:
            seq = handed_out.pop()
            queue.acknowledge(seq)
            confirmed.add(seq)
        elif step == "lose":
            queue.rewind()
            handed_out.clear()
    queue.rewind()
    left = [frame["seq"] for frame in iter(queue.next_frame, None)]
    assert left == [seq for seq in added if seq not in confirmed]


def test_a_full_queue_refuses_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "QUEUE_CAPACITY", 2)
    queue = device()
    assert [queue.enqueue({}) for _ in range(3)] == [True, True, False]
    assert (queue.queued, queue.overflowed, queue.has_room()) == (2, 1, False)


def test_history_is_given_out_as_often_as_agreed() -> None:
    queue = Device("d", "255700000001", 0.0, 2)
    queue.history = [{"id": "a"}]
    assert [queue.take_history() for _ in range(3)] == [[{"id": "a"}], [{"id": "a"}], []]


def test_a_chat_by_lid_belongs_to_the_customers_number() -> None:
    account = Account("255700000001", "1", "")
    account.remember_contact(Contact("255711111111", "Asha", "1888"))
    assert account.phone_of("255711111111@c.us") == "255711111111"
    assert account.phone_of("1888@lid") == "255711111111"
    assert account.phone_of("1999@lid") == "1999@lid"
    assert account.phone_of("12@g.us") == "12@g.us"


def test_everything_that_grows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SENT_IDS_CAPACITY", "HELD_CAPACITY", "CONTACTS_CAPACITY"):
        monkeypatch.setattr(accounts, name, 3)
    monkeypatch.setattr(conversations, "CHATS_PER_ACCOUNT", 3)
    account = Account("255700000001", "1", "")
    for n in range(10):
        account.remember_sent(SentMessage(str(n), "c", 0))
        account.remember_contact(Contact(str(n), "", f"1{n}"))
        account.conversations.open(str(n))
    assert list(account.sent) == list(account.contacts) == ["7", "8", "9"]
    assert account.phone_of("16@lid") == "16@lid"
    assert [chat.key for chat in account.conversations.newest(100)] == ["9", "8", "7"]
    held = [account.hold(Send("d", {"id": str(n)}), once=True) for n in range(4)]
    assert held == [True, True, True, False]
    assert account.hold(Send("d", {"id": "0"}), once=True)
    assert len(account.take_held()) == 3
    assert account.take_held() == []


def test_ticks_never_go_back() -> None:
    chats = Conversations()
    chat = chats.open("255711111111")
    chat.bubbles.append(Bubble("a", "bot", "x", "chat", 0))
    for ack in (2, 3, 2):
        chats.raise_ack("255711111111", ["a", "unknown"], ack)
    chats.raise_ack("nobody", ["a"], 3)
    assert chat.bubbles[0].ack == 3


def test_typing_ends_by_itself() -> None:
    chat = Conversations().open("255711111111")
    chat.typing, chat.typing_at = "composing", 100.0
    assert chat.as_json(10, 124.0)["typing"] == "composing"
    assert chat.as_json(10, 125.0)["typing"] == ""
