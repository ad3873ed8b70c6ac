"""Messages that a program sends through a tenant: planned in its outbox, in its order and pace."""

import base64
import binascii
import hashlib
import re
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID, uuid4

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from flowhq.admin.inputs import Input, NoBody, NoQuery, converted
from flowhq.admin.phone import to_e164
from flowhq.admin.problems import ALREADY_EXISTS, NOT_FOUND, WRONG_STATE, FieldError, invalid
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.sending import Wanted
from flowhq.db.stories import ReplyStory
from flowhq.errors import NotFoundError
from flowhq.model import MessageStatus, OutboxState, TenantId

# What WhatsApp takes in one message.
TEXT_MAX = 4_096
KEY_HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
ID_PREFIX = "msg_"
ID_BYTES = 32

# Of a message whose row in the ledger is gone already.
STATUS_OF = {
    OutboxState.DEAD: MessageStatus.FAILED,
    OutboxState.CANCELLED: MessageStatus.CANCELLED,
    OutboxState.ACCEPTED: MessageStatus.SENT,
    OutboxState.DELIVERED: MessageStatus.DELIVERED,
    OutboxState.READ: MessageStatus.READ,
}


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class SendMessage(Input):
    """``to``: the number with its country code. An Idempotency-Key makes it safe to repeat."""

    tenant_id: Annotated[UUID, Field(strict=False)]
    to: Annotated[str, StringConstraints(min_length=1, max_length=40), converted(to_e164)]
    text: Annotated[
        str, StringConstraints(min_length=1, max_length=TEXT_MAX), AfterValidator(_said)
    ]


class SentView(BaseModel):
    """One message asked for. ``status``: queued (it waits for its turn, or for the tenant to be
    connected), sent, delivered, read, played, failed (given up: ``error``) or cancelled (a person
    took the chat over, or another number was paired: ``reason``). ``message_id`` is its id in the
    tenant's log and in events."""

    id: str
    tenant_id: UUID
    message_id: UUID
    wa_message_id: str
    status: MessageStatus
    reason: str
    error: str
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    done_at: datetime | None


async def send_message(call: Call[SendMessage, NoQuery]) -> SentView:
    tenant_id = TenantId(call.body.tenant_id)
    if not call.principal.reaches(tenant_id):
        raise NotFoundError(f"There is no tenant {tenant_id}.")
    wanted = Wanted(_cause(call), call.body.to, call.body.text)
    story, chat_key = await call.deps.outward.sending.ask(tenant_id, wanted)
    call.deps.fleet.wake(tenant_id, chat_key)
    # The tenant stands in no part of the address.
    call.changed({}, {"tenant_id": str(tenant_id), "message_id": str(story.log_id)})
    return _view(tenant_id, story)


async def get_message(call: Call[NoBody, NoQuery]) -> SentView:
    tenant_id, log_id = _read_id(call.request.match_info["message"])
    if not call.principal.reaches(tenant_id):
        raise _unknown()
    story = await call.deps.store.fetch_story(tenant_id, str(log_id))
    if not isinstance(story, ReplyStory):
        raise _unknown()
    return _view(tenant_id, story)


def _cause(call: Call[SendMessage, NoQuery]) -> str:
    """The same for the same key of the same credential; a new one without a key."""
    keys = call.request.headers.getall(KEY_HEADER, [])
    if not keys:
        return f"api:{uuid4()}"
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise invalid(FieldError(KEY_HEADER, "must be one value of 1 to 255 visible characters."))
    whose = f"{call.principal.name}\0{keys[0]}"
    return f"api:{hashlib.sha256(whose.encode()).hexdigest()}"


def _view(tenant_id: TenantId, story: ReplyStory) -> SentView:
    return SentView(
        id=_write_id(tenant_id, story.log_id),
        tenant_id=tenant_id,
        message_id=story.log_id,
        wa_message_id=story.client_id,
        status=story.status or STATUS_OF.get(story.state, MessageStatus.QUEUED),
        reason=story.reason,
        error=story.error,
        attempts=story.attempts,
        created_at=story.planned_at,
        sent_at=story.accepted_at,
        delivered_at=story.delivered_at,
        read_at=story.read_at,
        done_at=story.done_at,
    )


def _write_id(tenant_id: TenantId, log_id: UUID) -> str:
    """Whose message it is, and which: so that no list of all messages has to be searched."""
    both = tenant_id.bytes + log_id.bytes
    return ID_PREFIX + base64.urlsafe_b64encode(both).decode().rstrip("=")


def _read_id(written: str) -> tuple[TenantId, UUID]:
    try:
        text = written.removeprefix(ID_PREFIX)
        both = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise _unknown() from None
    if not written.startswith(ID_PREFIX) or len(both) != ID_BYTES:
        raise _unknown()
    return TenantId(UUID(bytes=both[:16])), UUID(bytes=both[16:])


def _unknown() -> NotFoundError:
    return NotFoundError(
        "There is no message with this id.", next_step="It is the id that POST /v1/messages gave."
    )


ROUTES = (
    Route(
        "POST",
        "/v1/messages",
        "send_message",
        "Send a text through a tenant, in its order and pace",
        send_message,
        body=SendMessage,
        query=NoQuery,
        answer=SentView,
        needs=Scope.MESSAGES_SEND,
        own_keys=True,
        status=HTTPStatus.ACCEPTED,
        problems=(NOT_FOUND, WRONG_STATE, ALREADY_EXISTS),
        fleet_wide=False,
    ),
    Route(
        "GET",
        "/v1/messages/{message}",
        "get_message",
        "What became of a message that was asked for",
        get_message,
        body=NoBody,
        query=NoQuery,
        answer=SentView,
        needs=Scope.MESSAGES_SEND,
        problems=(NOT_FOUND,),
        fleet_wide=False,
    ),
)
