"""Bots that answer each other are found by what they do not say; people are let alone."""

import pytest

from flowhq.bot.loops import CHATS_MAX, WINDOW_S, LoopBreaker, normalised
from flowhq.bot.ownnumbers import OwnNumbers
from flowhq.model import ChatKey, MessageId
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import TENANT
from tests.unit.bot.test_inbound import message

CHAT = ChatKey("255700000001@c.us")


class Talk:
    """One chat, a second between two messages unless told otherwise."""

    def __init__(self, allowed: int = 3) -> None:
        self.clock = FakeClock()
        self.breaker = LoopBreaker(allowed, monotonic=self.clock.monotonic)
        self.number = 0

    async def turn(self, heard: str, said: str, *, after_s: float = 1.0, chat: str = CHAT) -> bool:
        await self.clock.advance(after_s)
        self.number += 1
        return self.again(heard, said, chat=chat)

    def again(self, heard: str, said: str, *, chat: str = CHAT) -> bool:
        """The same message once more."""
        return self.breaker.is_loop(ChatKey(chat), MessageId(f"m{self.number}"), heard, [said])


async def test_the_reply_after_the_last_empty_one_allowed_is_a_loop() -> None:
    talk = Talk(allowed=3)
    found = [await talk.turn("Thank you for writing", "Menu") for _ in range(6)]
    assert found[:5] == [False, False, False, False, True]


async def test_a_bot_that_counts_its_tickets_is_found() -> None:
    talk = Talk(allowed=3)
    found = [await talk.turn(f"Your ticket number is {n}", f"Answer {n}") for n in range(5)]
    assert found == [False, False, False, False, True]


async def test_a_bot_that_says_something_new_each_time_is_found_by_our_repeats() -> None:
    talk = Talk(allowed=3)
    texts = ("red", "green", "blue", "white", "black")
    assert [await talk.turn(text, "I did not understand.") for text in texts][-1] is True


async def test_a_person_who_goes_through_a_dialogue_is_let_alone() -> None:
    talk = Talk(allowed=3)
    for number in range(40):
        assert not await talk.turn(f"word {number}", f"Question {number}")


async def test_a_person_who_chooses_by_number_is_let_alone() -> None:
    talk = Talk(allowed=3)
    for number in range(9):
        assert not await talk.turn(str(number), f"List number {number}")


async def test_slow_repeats_are_no_loop() -> None:
    talk = Talk(allowed=3)
    for _ in range(20):
        assert not await talk.turn("habari", "Karibu", after_s=WINDOW_S / 3)


async def test_chats_are_watched_apart() -> None:
    talk = Talk(allowed=3)
    for _ in range(4):
        for chat in ("1@c.us", "2@c.us"):
            assert not await talk.turn("habari", "Karibu", chat=chat)
    assert await talk.turn("habari", "Karibu", chat="1@c.us")
    assert not await talk.turn("another word", "Another answer", chat="2@c.us")


async def test_a_message_asked_about_again_counts_once() -> None:
    talk = Talk(allowed=3)
    for turn in range(5):
        verdicts = {await talk.turn("habari", "Karibu")}
        verdicts |= {talk.again("habari", "Karibu") for _ in range(10)}
        assert verdicts == {turn == 4}


async def test_after_a_mute_was_lifted_the_count_begins_anew() -> None:
    talk = Talk(allowed=3)
    for _ in range(5):
        await talk.turn("habari", "Karibu")
    assert [await talk.turn("habari", "Karibu") for _ in range(5)] == [False] * 4 + [True]


async def test_nobody_watches_when_none_are_allowed() -> None:
    talk = Talk(allowed=0)
    assert not any([await talk.turn("habari", "Karibu") for _ in range(50)])


async def test_what_is_remembered_is_bounded() -> None:
    talk = Talk(allowed=3)
    for number in range(CHATS_MAX + 10):
        talk.breaker.is_loop(ChatKey(str(number)), MessageId("m"), "habari", ["Karibu"])
    assert len(talk.breaker._windows) <= CHATS_MAX  # noqa: SLF001 - its size is the point
    for _ in range(1000):
        await talk.turn("new every time", "and ever", after_s=0.0)
    assert len(talk.breaker._windows[CHAT].replies) <= 16  # noqa: SLF001


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Habari!", "  habari "),
        ("KARIBU\nsana", "karibu sana"),
        ("Ticket 123 is now open", "ticket 9 is now open"),
        ("\uff28\uff41\uff42\uff41\uff52\uff49", "habari"),
    ],
)
def test_the_same_said_otherwise_is_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "2"), ("saa 3", "saa 4"), ("\U0001f44d", "\U0001f44e"), ("", "a")]
)
def test_short_answers_are_not_made_equal(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_our_numbers_are_known_by_phone_lid_and_contact() -> None:
    ours = OwnNumbers({TENANT: ["255711111111", ""]})
    assert ours.wrote(message(phone="255711111111"))
    assert ours.wrote(message(phone="", lid="5"), phone="255711111111")
    assert not ours.wrote(message(phone="255722222222", lid="100000000000002"))
    assert not ours.wrote(message(phone="", lid=""))
    ours.learn(TENANT, "255722222222", "100000000000002")
    assert ours.wrote(message(phone="", lid="100000000000002"))
    ours.forget(TENANT)
    assert not ours.wrote(message(phone="255711111111"))
    ours.forget(TENANT)
