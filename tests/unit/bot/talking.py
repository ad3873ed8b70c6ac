"""A customer who writes to a responder: keeps the state between two messages as the ledger does."""

import json
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from flowhq.bot.replies.catalogue import Catalogues
from flowhq.bot.responder import Responder
from flowhq.model import (
    ChatKey,
    InboundMessage,
    Jid,
    Language,
    MessageId,
    MessageKind,
    Source,
    TemplateType,
    TenantId,
    TenantSpec,
)
from flowhq.steps import ConversationView, Decision

CATALOGUES = Catalogues.load()
CONVERSATIONS = Path(__file__).parent / "conversations"
MONDAY = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
"""Ten in the morning in Dar es Salaam: saa nne asubuhi."""
BUSINESSES: Mapping[str, Any] = tomllib.loads(
    (CONVERSATIONS / "businesses.toml").read_text(encoding="utf-8")
)


def spec_of(business: str, template: str, language: str) -> TenantSpec:
    """A tenant of one of the businesses of the scripted conversations."""
    shop = BUSINESSES[business]
    return TenantSpec(
        tenant_id=TenantId(UUID(int=1)),
        name=business,
        phone_number="255700000001",
        template=TemplateType(template),
        language=Language(language),
        business_name=shop["business_name"],
        timezone="Africa/Dar_es_Salaam",
        hours=shop.get("hours"),
        details=shop.get("details", {}),
    )


class Customer:
    """Says one thing after the other, a minute apart."""

    def __init__(self, responder: Responder, *, now: datetime = MONDAY) -> None:
        self.responder = responder
        self.now = now
        self.state: dict[str, Any] = {}
        self.opted_out = False
        self.paused_until: datetime | None = None
        self._said = 0

    @property
    def view(self) -> ConversationView:
        return ConversationView(
            chat_key=ChatKey("255711@c.us"),
            now=self.now,
            contact_name="Asha",
            phone="255711",
            opted_out=self.opted_out,
            bot_state=self.state,
            paused_until=self.paused_until,
            last_outgoing_at=None,
            last_person_at=None,
        )

    def says(self, text: str, kind: MessageKind = MessageKind.TEXT) -> Decision:
        """The decision on a message; its state and opt-out are kept for the next one."""
        self._said += 1
        message = InboundMessage(
            message_id=MessageId(f"3EB0{self._said:016X}"),
            chat=Jid("255711@c.us"),
            from_me=False,
            kind=kind,
            text=text,
            at=self.now,
            source=Source.LIVE,
            sender=Jid("255711@c.us"),
        )
        decision = self.responder.respond(message, self.view)
        if decision.bot_state is not None:
            # As JSON, since that is what the database gives back.
            self.state = json.loads(json.dumps(decision.bot_state))
        if decision.opted_out is not None:
            self.opted_out = decision.opted_out
        self.now += timedelta(minutes=1)
        return decision

    def hears(self, text: str, kind: MessageKind = MessageKind.TEXT) -> str:
        """All that is answered to a message."""
        return "\n".join(reply.text for reply in self.says(text, kind).replies)

    def waits(self, **time: float) -> None:
        self.now += timedelta(**time)


def customer_of(
    business: str = "saluni",
    template: str = "BOOKING",
    language: str = "SW",
    *,
    catalogues: Catalogues = CATALOGUES,
    now: datetime = MONDAY,
) -> Customer:
    """A customer new to one of the businesses."""
    return Customer(Responder(spec_of(business, template, language), catalogues), now=now)
