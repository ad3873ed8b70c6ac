"""The verdict of the fault tests notices whatever can be wrong, and excuses nothing without a
reason that stands in the journal."""

from typing import Any

import pytest

from tests.faults.journal import latencies
from tests.faults.verdict import PAUSE_S, Ledger, Planned, Row, Verdict, judge

SHOP, OTHER = "shop", "other"
NOW = 1_800_000_000.0


class Scene:
    """A journal and what the database says to it, written side by side."""

    def __init__(self) -> None:
        self.journal: list[tuple[Any, ...]] = []
        self.ledger = Ledger()

    def ask(
        self, name: str, state: str = "done", reason: str = "", *, chat: str = "a", t: float = NOW
    ) -> None:
        """A customer's message, recorded in this state; "" for not at all."""
        self.journal.append(("in", SHOP, chat, name, False, t, f"zuhura01 {name}", NOW))
        if state:
            self.ledger.inbox[SHOP, name] = Row(state, reason)

    def own(self, name: str, *, chat: str = "a", t: float = NOW) -> None:
        self.journal.append(("in", SHOP, chat, name, True, t, "Nimekujibu.", NOW))
        self.ledger.by_owner.add((SHOP, name))

    def plan(self, name: str, cause: str, state: str = "accepted", part: int = 0) -> None:
        self.ledger.outbox[SHOP, name] = Planned(cause, part, state)

    def reply(
        self, cause: str, *, chat: str = "a", text: str = "Jibu zuhura01.", part: int = 0
    ) -> None:
        name = f"re {cause} {part}"
        self.plan(name, cause, part=part)
        self.arrive(name, chat=chat, text=text)

    def arrive(self, name: str, *, chat: str = "a", text: str = "Jibu zuhura01.") -> None:
        self.journal.append(("out", SHOP, chat, name, text, NOW + 1))

    def page(self, *, reads: str = "") -> None:
        """A page begins, and reads these chats."""
        self.journal.append(("page", SHOP, "", "", NOW))
        self.journal += [("read", SHOP, chat, "", NOW) for chat in reads]

    def judged(self) -> Verdict:
        return judge(self.journal, self.ledger)


@pytest.fixture
def scene() -> Scene:
    """A page that has read nothing, since nothing was there."""
    scene = Scene()
    scene.page()
    return scene


def test_what_is_answered_in_order_is_clean(scene: Scene) -> None:
    scene.ask("one")
    scene.reply("one")
    scene.ask("two")
    scene.reply("two")
    verdict = scene.judged()
    assert verdict.clean, str(verdict)
    assert (verdict.asked, verdict.replies, verdict.covered) == (2, 2, 0)


def test_only_the_named_tenants_are_judged(scene: Scene) -> None:
    scene.ask("one", "")
    assert judge(scene.journal, scene.ledger, {OTHER}).clean


# -- lost ----------------------------------------------------------------------------------------


def test_what_was_never_recorded_is_missing(scene: Scene) -> None:
    scene.ask("one", "")
    assert scene.judged().missing == {"one"}


def test_an_owners_message_that_was_never_recorded_is_missing(scene: Scene) -> None:
    scene.own("mine")
    scene.ledger.by_owner.clear()
    assert scene.judged().missing == {"mine"}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("done", ""),
        ("new", ""),
        ("dead", ""),
        ("skipped", "too_old"),
        ("skipped", "person"),
        ("skipped", "answered"),
        ("skipped", "backlog"),
    ],
)
def test_what_is_left_unanswered_without_a_reason_is_lost(
    scene: Scene, state: str, reason: str
) -> None:
    scene.ask("one", state, reason)
    scene.ask("two")
    scene.reply("two")
    verdict = scene.judged()
    assert verdict.unanswered == {f"one {state} {reason}"}
    assert verdict.lost == 1
    assert "1 unanswered" in str(verdict)


def test_a_notice_answers_nothing(scene: Scene) -> None:
    scene.ask("one")
    scene.reply("one", text="Tafadhali subiri kidogo.")
    assert scene.judged().lost == 1


# -- twice, out of order, strange ------------------------------------------------------------------


def test_what_arrives_again_is_there_twice(scene: Scene) -> None:
    scene.ask("one")
    scene.reply("one")
    scene.arrive("re one 0")
    assert scene.judged().twice == ["re one 0"]


def test_a_second_answer_to_one_question_is_one_too_many(scene: Scene) -> None:
    scene.ask("one")
    scene.reply("one")
    scene.reply("one", part=1)
    assert scene.judged().twice == ["re one 1 answers one again"]


def test_further_parts_that_answer_nothing_again_are_none(scene: Scene) -> None:
    scene.ask("one")
    scene.reply("one")
    scene.reply("one", part=1, text="Karibu tena.")
    assert scene.judged().clean


def test_what_the_database_has_twice_is_told(scene: Scene) -> None:
    scene.ledger.repeated.append("inbox one")
    assert not scene.judged().clean


def test_a_later_answer_that_comes_first_is_out_of_order(scene: Scene) -> None:
    scene.ask("one")
    scene.ask("two")
    scene.reply("two")
    scene.reply("one")
    assert len(scene.judged().disordered) == 1


def test_a_reply_that_nobody_planned_is_strange(scene: Scene) -> None:
    scene.arrive("unknown")
    assert len(scene.judged().strange) == 1


def test_a_reply_in_another_chat_than_its_question_is_strange(scene: Scene) -> None:
    scene.ask("one", chat="a")
    scene.reply("one", chat="b")
    assert len(scene.judged().strange) == 1


@pytest.mark.parametrize("text", ["Jibu zuhura02.", "Jibu zuhura01. Jibu zuhura02."])
def test_an_answer_to_another_question_is_strange(scene: Scene, text: str) -> None:
    scene.ask("one")
    scene.reply("one", text=text)
    assert len(scene.judged().strange) == 1


def test_an_answer_to_what_nobody_asked_is_strange_and_a_notice_is_not(scene: Scene) -> None:
    scene.reply("wait:1", text="Tafadhali subiri kidogo.")
    assert scene.judged().clean
    scene.reply("never asked")
    assert len(scene.judged().strange) == 1


def test_an_answer_to_what_a_page_told_of_apart_is_not_strange(scene: Scene) -> None:
    scene.journal.append(("told", SHOP, "a", "apart", "zuhura01", NOW))
    scene.reply("apart")
    assert scene.judged().clean


# -- a backlog ----------------------------------------------------------------------------------


def test_a_later_answer_stands_for_what_came_while_nobody_listened(scene: Scene) -> None:
    scene.ask("one", "skipped", "backlog")
    scene.ask("two", "skipped", "backlog")
    scene.ask("three")
    scene.page(reads="a")
    scene.reply("three")
    verdict = scene.judged()
    assert verdict.clean, str(verdict)
    assert verdict.covered == 2
    assert "2 rest on a later answer" in str(verdict)


def test_the_newest_of_an_absence_may_wait_for_the_next_reading_if_nothing_went_on(
    scene: Scene,
) -> None:
    scene.ask("one", "skipped", "backlog")
    scene.ask("two", "skipped", "backlog")
    scene.page(reads="a")  # killed before it had recorded all of it
    scene.ask("three")
    scene.page(reads="a")
    scene.reply("three")
    assert scene.judged().clean


def test_the_newest_of_an_absence_is_not_covered_by_a_later_absence(scene: Scene) -> None:
    scene.ask("one", "skipped", "backlog")
    scene.ask("two", "skipped", "backlog")
    scene.page(reads="a")
    for name in ("live", "more", "again"):
        scene.ask(name, chat="b")
        scene.reply(name, chat="b")
    scene.ask("three")
    scene.page(reads="ab")
    scene.reply("three")
    assert scene.judged().unanswered == {"one skipped backlog", "two skipped backlog"}


def test_what_came_in_live_is_no_backlog(scene: Scene) -> None:
    scene.page(reads="a")
    scene.ask("one", "skipped", "backlog")
    for name in ("live", "more", "again"):
        scene.ask(name, chat="b")
        scene.reply(name, chat="b")
    scene.ask("two")
    scene.page(reads="ab")
    scene.reply("two")
    assert scene.judged().unanswered == {"one skipped backlog"}


def test_what_nobody_read_is_no_backlog(scene: Scene) -> None:
    scene.ask("one", "skipped", "backlog")
    scene.ask("two")
    scene.page(reads="b")
    scene.reply("two")
    assert scene.judged().unanswered == {"one skipped backlog"}


def test_what_came_behind_a_reading_stands_for_nothing_before_it(scene: Scene) -> None:
    scene.ask("one", "skipped", "backlog")
    scene.page(reads="a")
    scene.ask("two")
    scene.reply("two")
    assert scene.judged().unanswered == {"one skipped backlog"}


def test_what_is_lost_itself_stands_for_nothing(scene: Scene) -> None:
    scene.ask("one", "skipped", "backlog")
    scene.ask("two")
    scene.page(reads="a")
    assert scene.judged().lost == 2


def test_of_a_page_whose_readings_nobody_sees_the_first_sends_tell(scene: Scene) -> None:
    scene.ask("one", "skipped", "backlog")
    scene.ask("two")
    scene.journal.append(("online", SHOP, "", "", NOW))
    scene.reply("two")
    scene.ask("live", chat="b")
    scene.reply("live", chat="b")
    assert scene.judged().clean
    scene.ask("three", "skipped", "backlog")
    scene.ask("four")
    scene.reply("four")
    assert scene.judged().unanswered == {"three skipped backlog"}


# -- an owner who writes -------------------------------------------------------------------------


def test_what_an_owner_answered_needs_no_reply(scene: Scene) -> None:
    scene.ask("one", "skipped", "person")
    scene.ask("two", "skipped", "answered")
    scene.ask("three", "done")
    scene.plan("re three 0", "three", "cancelled")
    scene.own("mine")
    scene.ask("four", "skipped", "person")
    assert scene.judged().clean


def test_an_owner_excuses_nothing_that_a_later_answer_went_before(scene: Scene) -> None:
    scene.ask("one", "skipped", "person")
    scene.ask("two")
    scene.reply("two")
    scene.own("mine")
    assert scene.judged().unanswered == {"one skipped person"}


def test_an_owner_excuses_nothing_in_another_chat_or_after_the_pause(scene: Scene) -> None:
    scene.own("mine")
    scene.ask("one", "skipped", "person", chat="b")
    scene.ask("two", "skipped", "person", t=NOW + PAUSE_S)
    assert scene.judged().lost == 2


def test_a_recorded_message_without_its_reply_is_lost_beside_an_owner_too(scene: Scene) -> None:
    scene.ask("one", "done")
    scene.own("mine")
    assert scene.judged().lost == 1


def test_what_was_under_way_when_the_owner_wrote_may_arrive(scene: Scene) -> None:
    scene.ask("one")
    scene.own("mine")
    scene.reply("one")
    assert scene.judged().clean


def test_a_reply_to_what_came_after_the_owner_is_noticed(scene: Scene) -> None:
    scene.own("mine")
    scene.ask("one")
    scene.reply("one")
    verdict = scene.judged()
    assert verdict.intruding == ["re one 0 to one"]
    assert not verdict.clean


def test_after_the_pause_the_bot_answers_again(scene: Scene) -> None:
    scene.own("mine")
    scene.ask("one", t=NOW + PAUSE_S)
    scene.reply("one")
    assert scene.judged().clean


# -- figures --------------------------------------------------------------------------------------


def test_the_time_to_an_answer_goes_from_the_question_to_its_first_reply(scene: Scene) -> None:
    scene.ask("one")
    scene.reply("one")
    scene.reply("one", part=1)
    assert latencies(scene.journal, scene.ledger.causes, {SHOP}) == [1.0]
    assert latencies(scene.journal, scene.ledger.causes, {OTHER}) == []
