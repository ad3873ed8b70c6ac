"""The responder's gate: whether to answer, in which language, what goes before, what is kept."""

import copy
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowhq.bot.replies.dialogues import reference
from flowhq.bot.replies.state import REQUESTS_KEPT, read_state
from flowhq.bot.responder import TEXT_UNITS_MAX, Responder, split_text
from flowhq.errors import InvalidInputError
from flowhq.model import InboundMessage, Jid, Language, MessageId, MessageKind, Source
from flowhq.steps import Outcome
from tests.unit.bot.talking import CATALOGUES, MONDAY, Customer, customer_of, spec_of

SUNDAY = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
NOT_TEXT = [kind for kind in MessageKind if kind not in (MessageKind.TEXT, MessageKind.REACTION)]


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


# -- whether to answer -----------------------------------------------------------------------------


def test_own_messages_are_never_answered() -> None:
    customer = customer_of()
    message = InboundMessage(
        message_id=MessageId("A"),
        chat=Jid("c"),
        from_me=True,
        kind=MessageKind.TEXT,
        text="bei",
        at=MONDAY,
        source=Source.LIVE,
        sender=Jid("c"),
    )
    decision = customer.responder.respond(message, customer.view)
    assert (decision.outcome, decision.reason) == (Outcome.SKIPPED, "own")


def test_reactions_are_never_answered_and_change_nothing() -> None:
    customer = customer_of()
    decision = customer.says("\U0001f44d", MessageKind.REACTION)
    assert (decision.outcome, decision.reason, decision.bot_state) == (
        Outcome.SKIPPED,
        "reaction",
        None,
    )


@pytest.mark.parametrize("kind", NOT_TEXT)
def test_every_other_kind_is_told_once_that_only_text_is_read(kind: MessageKind) -> None:
    customer = customer_of()
    first = customer.says("bei gani", kind)
    assert [reply.intent for reply in first.replies] == ["text_only"]
    assert customer.says("", kind).outcome is Outcome.SKIPPED
    assert customer.says("bei gani").reason == "prices"
    assert customer.says("", kind).reason == "text_only"
    assert customer.says("", kind).replies == ()


def test_a_picture_in_a_dialogue_does_not_end_it() -> None:
    customer = customer_of()
    customer.says("weka miadi ya kusuka")
    customer.says("", MessageKind.IMAGE)
    assert "Saa ngapi?" in customer.hears("kesho")


def test_nothing_is_said_while_a_person_has_taken_over() -> None:
    customer = customer_of()
    customer.paused_until = customer.now + timedelta(minutes=30)
    decision = customer.says("bei gani")
    assert (decision.outcome, decision.reason) == (Outcome.SKIPPED, "person")
    customer.waits(hours=1)
    assert customer.says("bei gani").reason == "prices"


def test_stop_is_obeyed_while_a_person_has_taken_over() -> None:
    customer = customer_of()
    customer.paused_until = customer.now + timedelta(minutes=30)
    assert customer.says("stop").opted_out is True


def test_stop_in_the_middle_of_a_dialogue_ends_it_and_is_confirmed_once() -> None:
    customer = customer_of()
    customer.says("weka miadi")
    stopped = customer.says("STOP!")
    assert (stopped.reason, stopped.opted_out, len(stopped.replies)) == ("opt_out", True, 1)
    assert "dialogue" not in customer.state
    assert customer.says("stop").replies == ()


def test_an_answer_leaves_the_opt_out_as_it_is() -> None:
    assert customer_of().says("bei").opted_out is None


@pytest.mark.parametrize("signs", ["\U0001f602\U0001f602", "...", "", "   ", "\u2764\ufe0f"])
def test_signs_alone_are_greeted_at_first_and_left_alone_later(signs: str) -> None:
    customer = customer_of()
    assert customer.says(signs).reason == "greeting"
    assert customer.says(signs).reason == "nothing_said"


# -- language --------------------------------------------------------------------------------------


def test_an_answer_comes_in_the_language_of_the_question_and_stays_there() -> None:
    customer = customer_of(language="SW")
    assert "Welcome" in customer.hears("hello, what are your prices?")
    assert "not understand" in customer.hears("blorp")
    assert "Price: TZS 5,000" in customer.hears("1")
    customer.says("0")
    assert "Huduma zetu" in customer.hears("naomba bei zenu")
    assert "Bei: TZS 5,000" in customer.hears("1")


@pytest.mark.parametrize("language", ["SW", "EN"])
def test_a_message_without_a_language_is_answered_in_the_tenants(language: str) -> None:
    welcome = {"SW": "Karibu", "EN": "Welcome to"}[language]
    assert f"{welcome} *Saluni ya Asha*" in customer_of(language=language).hears("hi")


def test_a_name_given_in_a_dialogue_does_not_change_its_language() -> None:
    customer = customer_of()
    for text in ("weka miadi ya kusuka", "kesho", "saa nne asubuhi"):
        customer.says(text)
    assert "Jina: Mercy Good Morning Today" in customer.hears("Mercy Good Morning Today")
    assert customer.responder.language_of(customer.view) is Language.SW


def test_notices_come_in_the_language_of_the_conversation() -> None:
    customer = customer_of()
    customer.says("hello, what are your prices?")
    assert customer.responder.slow_down(customer.view).text.startswith("We are getting")
    assert customer.responder.please_wait(customer.view).intent == "please_wait"
    assert customer.responder.please_wait().text.startswith("Ujumbe wako umepokelewa")


@pytest.mark.parametrize(
    ("lead", "question", "intent"),
    [
        (["weka miadi ya kusuka"], "mnafungua saa ngapi jumamosi", "hours"),
        (["weka miadi ya kusuka"], "naomba bei zenu", "prices"),
        (["weka miadi ya kusuka", "kesho"], "mko wapi?", "location"),
        (["weka miadi ya kusuka", "kesho", "10:00"], "nataka kujua njia za malipo", "payment"),
        (["weka miadi ya kusuka", "kesho", "10:00"], "parking?", "faq_answer"),
        (["weka miadi ya kusuka", "kesho", "10:00", "Neema"], "kusuka ni bei gani", "prices"),
        (["weka miadi"], "asante", "thanks"),
    ],
)
def test_a_question_in_a_dialogue_is_answered_and_then_asked_again(
    lead: list[str], question: str, intent: str
) -> None:
    customer = customer_of()
    for text in lead:
        asked = customer.hears(text)
    open_step = customer.state["dialogue"]
    decision = customer.says(question)
    assert decision.reason == intent
    assert decision.replies[0].text.endswith(asked.splitlines()[-1])
    assert customer.state["dialogue"] == open_step


@pytest.mark.parametrize("day", ["5", "namba 3", "31/2", "25-13"])
def test_a_number_that_is_no_date_is_no_day(day: str) -> None:
    customer = customer_of()
    customer.says("weka miadi ya kusuka")
    assert "Tafadhali andika siku" in customer.hears(day)


@pytest.mark.parametrize(
    ("said", "day", "time"),
    [
        ("4/12", "Ijumaa, 4 Desemba", None),
        ("samahani, jumamosi", "Jumamosi, 28 Novemba", None),
        ("jumamosi jioni", "Jumamosi, 28 Novemba", "jumamosi jioni"),
        ("10-11", "Jumanne, 24 Novemba", "10-11"),
        ("kesho saa 5 asubuhi", "Jumanne, 24 Novemba", "kesho saa 5 asubuhi"),
    ],
)
def test_the_day_can_be_changed_where_the_time_is_asked(
    said: str, day: str, time: str | None
) -> None:
    customer = customer_of()
    for text in ("weka miadi ya kusuka", "kesho", said):
        customer.says(text)
    answers = customer.state["dialogue"]["answers"]
    assert (answers["day"], answers.get("time")) == (day, time)


def test_a_list_is_not_told_twice_in_one_message() -> None:
    customer = customer_of()
    customer.says("weka miadi")
    assert customer.hears("naomba bei zenu").count("1. ") == 1


def test_what_is_sold_out_is_not_offered_for_ordering() -> None:
    customer = customer_of("duka", "ECOMMERCE")
    sold_out = customer.hears("viatu bei gani")
    assert "kwa sasa hatuna" in sold_out
    assert "kuagiza" not in sold_out


def test_a_message_for_the_person_asked_for_may_ask_for_a_call() -> None:
    customer = customer_of()
    assert customer.says("mtu").reason == "handoff"
    assert customer.says("naomba mnipigie saa sita, nipigieni").reason == "message_left"


@pytest.mark.parametrize("name", ["Habari Salum Juma", "Tatu", "Salama Bei", "Neema"])
def test_names_that_are_words_as_well_are_taken_as_names(name: str) -> None:
    customer = customer_of()
    for text in ("weka miadi ya kusuka", "kesho", "10:00"):
        customer.says(text)
    assert f"Jina: {name}" in customer.hears(name)


def test_another_dialogue_can_be_begun_from_within_one() -> None:
    customer = customer_of("duka", "ECOMMERCE")
    customer.says("agiza")
    assert customer.says("nina tatizo").reason == "problem"


# -- closed ----------------------------------------------------------------------------------------


def test_the_closed_notice_comes_once_before_the_answer() -> None:
    customer = customer_of(now=SUNDAY)
    first = customer.hears("bei gani")
    assert first.startswith("Kwa sasa tumefunga. Tunafungua *kesho saa 2:00 asubuhi (08:00)*.")
    assert "Kunyoa nywele" in first
    assert "tumefunga" not in customer.hears("bei gani")


def test_the_same_night_is_one_episode_even_after_hours_of_silence() -> None:
    customer = customer_of(now=SUNDAY)
    customer.says("mambo")
    customer.waits(hours=9)
    assert "tumefunga" not in customer.hears("mambo")


def test_the_next_closing_is_another_episode() -> None:
    customer = customer_of(now=SUNDAY)
    customer.says("mambo")
    customer.waits(hours=31)
    assert "Tunafungua *kesho" in customer.hears("mambo")


def test_a_picture_at_night_is_told_both() -> None:
    text = customer_of(now=SUNDAY).hears("", MessageKind.IMAGE)
    assert "tumefunga" in text
    assert "maandishi tu" in text


def test_a_business_without_hours_never_says_closed() -> None:
    assert "tumefunga" not in customer_of("duka", "ECOMMERCE", now=SUNDAY).hears("mambo")


# -- the state -------------------------------------------------------------------------------------


def test_the_same_message_and_state_give_the_same_decision() -> None:
    for text in ("mambo", "weka miadi ya kusuka kesho", "nina tatizo kubwa"):
        first, second = customer_of(), customer_of()
        assert first.says(text) == second.says(text)


def test_the_view_is_not_changed() -> None:
    customer = customer_of()
    customer.says("weka miadi")
    before = copy.deepcopy(customer.state)
    view = customer.view
    customer.says("1")
    assert view.bot_state == before


@pytest.mark.parametrize(
    "state",
    [
        {"v": 1},
        {"v": 99, "at": "2026-11-23T07:00:00+00:00"},
        {"v": 1, "at": "yesterday"},
        {"v": 1, "at": "2026-11-23T07:00:00"},
        {"v": 1, "at": "2026-11-23T07:00:00+00:00", "language": "FR"},
        {"v": 1, "at": "2026-11-23T07:00:00+00:00", "dialogue": {"name": "booking"}},
        {"v": 1, "at": "2026-11-23T07:00:00+00:00", "dialogue": "booking"},
        {"v": 1, "at": "2026-11-23T07:00:00+00:00", "requests": [1]},
        {"foreign": True},
    ],
)
def test_a_state_that_cannot_be_read_starts_anew(state: dict[str, Any]) -> None:
    customer = customer_of()
    customer.state = state
    assert customer.says("mambo").reason == "greeting"
    assert read_state(state, MONDAY).dialogue is None


@pytest.mark.parametrize(("name", "step"), [("booking", "colour"), ("taxi", "day")])
def test_a_dialogue_of_another_version_is_dropped(name: str, step: str) -> None:
    customer = customer_of()
    customer.says("weka miadi")
    customer.state["dialogue"] |= {"name": name, "step": step}
    assert customer.says("bei gani").reason == "prices"


def test_requests_are_kept_with_their_reference_and_bounded() -> None:
    customer = customer_of("msaada", "SUPPORT")
    references = []
    for number in range(REQUESTS_KEPT + 2):
        customer.says("nina tatizo")
        text = customer.hears(f"Kifaa namba {number} kimeharibika")
        references.append(customer.state["requests"][-1]["reference"])
        assert references[-1] in text
    assert [request["reference"] for request in customer.state["requests"]] == references[2:]
    assert customer.state["requests"][-1]["description"] == "Kifaa namba 6 kimeharibika"


def test_requests_outlive_an_idle_conversation_and_a_stop() -> None:
    customer = customer_of("msaada", "SUPPORT")
    customer.says("nina tatizo")
    customer.says("Kimeharibika")
    customer.waits(days=3)
    customer.says("mambo")
    customer.says("stop")
    assert customer.state["requests"][0]["kind"] == "problem"


def test_a_reference_is_always_the_same_for_the_same_message() -> None:
    assert reference(MessageId("3EB0A")) == reference(MessageId("3EB0A"))
    assert reference(MessageId("3EB0A")) != reference(MessageId("3EB0B"))
    assert len({reference(MessageId(str(number))) for number in range(2000)}) == 2000


# -- what customers and tenants write --------------------------------------------------------------


def test_what_a_customer_writes_is_never_expanded() -> None:
    customer = customer_of()
    for text in ("weka miadi ya kusuka", "kesho", "10:00", "${business.name}"):
        heard = customer.hears(text)
    assert "Jina: ${business.name}" in heard


def test_a_tenants_own_greeting_is_used_and_may_name_the_business() -> None:
    spec = spec_of("saluni", "BOOKING", "SW")
    details = dict(spec.details) | {"greeting": {"sw": "Hujambo, hapa ni ${business.name}! $5"}}
    customer = Customer(Responder(replace(spec, details=details), CATALOGUES))
    assert "Hujambo, hapa ni Saluni ya Asha! $5" in customer.hears("habari")


def test_an_overlong_answer_is_refused_and_nothing_of_it_is_cut() -> None:
    customer = customer_of("duka", "ECOMMERCE")
    for text in ("nataka kununua kofia", "1"):
        customer.says(text)
    assert "zisizozidi 100" in customer.hears("Juma " * 30)
    assert "Tukuletee" in customer.hears("Juma")


@pytest.mark.parametrize("quantity", ["0.5", "-3", "1001", "2 au 3", "99999999999"])
def test_an_odd_quantity_is_asked_again(quantity: str) -> None:
    customer = customer_of("duka", "ECOMMERCE")
    customer.says("nataka kununua kofia")
    assert "kuanzia 1 hadi 1000" in customer.hears(quantity)


def test_zero_leads_back_to_the_menu_from_everywhere() -> None:
    for lead in (["weka miadi"], ["weka miadi", "1"], ["bei"], ["mtu"], ["qwe", "qwe"], []):
        customer = customer_of()
        for text in lead:
            customer.says(text)
        assert customer.says("0").reason == "menu"


def test_a_tenant_whose_stored_details_are_wrong_is_refused() -> None:
    spec = spec_of("saluni", "BOOKING", "SW")
    with pytest.raises(InvalidInputError) as refused:
        Responder(replace(spec, hours={"weekly": {"mon": [["25:00", "26:00"]]}}), CATALOGUES)
    assert refused.value.field == "hours_json.weekly.mon[0]"


def full_shop(template: str) -> Customer:
    """A business with everything at its longest."""
    items = [
        {"name": f"{number:03d} " + "n" * 76, "price": 10**12, "description": "d" * 1000}
        for number in range(100)
    ]
    questions = [
        {"question": "q" * 1000, "keywords": [f"keyword{number}"], "answer": "\U0001f600" * 1000}
        for number in range(100)
    ]
    details = {
        "services": items,
        "products": items,
        "faq": questions,
        "contact": {"address": "a" * 1000},
        "payment": {"methods": [{"name": "m" * 80, "details": "d" * 1000}] * 100, "note": "n"},
        "delivery": {"areas": ["a" * 80] * 100, "fee": 1, "time": "t" * 1000, "note": "n" * 1000},
        "greeting": "g" * 1000,
    }
    spec = replace(spec_of("mpya", template, "SW"), details=details, business_name="B" * 80)
    return Customer(Responder(spec, CATALOGUES))


@pytest.mark.parametrize("template", ["BOOKING", "ECOMMERCE", "SUPPORT"])
def test_no_message_is_longer_than_the_platform_takes(template: str) -> None:
    customer = full_shop(template)
    for text in ("hi", "bei", "maswali", "keyword7", "malipo", "usafirishaji", "wapi", "huduma"):
        replies = customer.says(text).replies
        assert replies
        for reply in replies:
            assert units(reply.text) <= TEXT_UNITS_MAX


def test_every_entry_of_a_long_list_is_on_exactly_one_page() -> None:
    customer = full_shop("SUPPORT")
    pages = [customer.hears("maswali")]
    while "*zaidi*" in pages[-1]:
        pages.append(customer.hears("zaidi"))
    for number in range(1, 101):
        assert sum(f"\n{number}. qqq" in f"\n{page}" for page in pages) == 1
    assert f"Ukurasa {len(pages)} kati ya {len(pages)}." in pages[-1]


@given(st.text(alphabet=st.sampled_from("ab \n\U0001f600"), max_size=12000))
@settings(max_examples=60)
def test_splitting_loses_nothing(text: str) -> None:
    parts = split_text(text)
    assert all(units(part) <= TEXT_UNITS_MAX for part in parts)
    if len(parts) == 1:
        assert parts == (text,)
    else:
        assert "".join(part.partition("\n")[2] for part in parts) == text


WORDS = """
    0 1 2 3 4 5 6 7 9 12 99 mambo bei agiza miadi tatizo ndiyo hapana mtu zaidi nyuma menyu ghairi
    kesho Jumapili asante maswali huduma shati kofia anza yes hello 10:00 Neema
"""
TALK = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(WORDS.split()),
        st.sampled_from(["saa nne asubuhi", "nataka kununua kofia 2", "weka miadi ya kusuka"]),
    ),
    max_size=12,
)


@settings(max_examples=120)
@given(
    TALK,
    st.sampled_from(
        [("saluni", "BOOKING"), ("duka", "ECOMMERCE"), ("msaada", "SUPPORT"), ("mpya", "ECOMMERCE")]
    ),
    st.sampled_from(["SW", "EN"]),
    st.sampled_from([MONDAY, SUNDAY]),
)
def test_any_conversation_is_decided_and_its_state_is_small_json(
    texts: list[str], shop: tuple[str, str], language: str, now: datetime
) -> None:
    customer = customer_of(*shop, language, now=now)
    for text in texts:
        decision = customer.says(text)
        assert (decision.outcome is Outcome.DONE) == bool(decision.replies)
        assert len(json.dumps(customer.state)) < 20_000
        for reply in decision.replies:
            assert reply.text.strip()
            assert reply.intent
            assert units(reply.text) <= TEXT_UNITS_MAX


def test_an_answer_takes_a_few_milliseconds_at_most() -> None:
    customer = customer_of()
    texts = ["mambo", "bei ya kusuka ni shilingi ngapi jamani", "weka miadi", "1", "kesho", "0"]
    started = time.thread_time()
    for text in texts * 50:
        customer.says(text)
    assert (time.thread_time() - started) / 300 < 0.015


def test_a_stored_language_that_is_none_falls_back_to_the_tenants() -> None:
    customer = customer_of()
    customer.state = {"language": "FR"}
    assert customer.responder.language_of(customer.view) is Language.SW


def test_a_stored_closing_that_is_no_time_is_told_again() -> None:
    customer = customer_of(now=SUNDAY)
    customer.says("mambo")
    customer.state["closed_until"] = "soon"
    assert "tumefunga" in customer.hears("mambo")
