"""One message explained, the messages that were given up, and trying them again."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.inputs import NoBody, NoQuery, Query
from flowhq.admin.problems import WRONG_STATE
from flowhq.admin.reasons import answer_of
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.deadletters import DeadRow
from flowhq.db.stories import ReplyStory, SeenStory, Story
from flowhq.errors import WrongStateError
from flowhq.model import (
    ChatKey,
    Direction,
    InboxState,
    MessageKind,
    MessageStatus,
    OutboxState,
    Source,
)

DEAD_DEFAULT = 100
DEAD_MAX = 500

Place = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class DeadQuery(Query):
    """``after`` is the ``next`` of the page before this one."""

    state: Literal["dead"] = "dead"
    limit: int = Field(default=DEAD_DEFAULT, ge=1, le=DEAD_MAX)
    after: Place | None = None


class DeadView(BaseModel):
    """One message that was given up: IN could not be answered, OUT could not be sent."""

    id: UUID
    direction: Direction
    wa_message_id: str
    chat_key: str
    attempts: int
    error: str
    died_at: datetime | None
    created_at: datetime


class DeadPageView(BaseModel):
    """Newest first; ``next`` goes into ``after``, null on the last page."""

    tenant_id: UUID
    items: list[DeadView]
    next: str | None


class ReceivedView(BaseModel):
    """How and when it reached us. ``sent_at`` is WhatsApp's time of it, ``at`` ours.
    ``differed_at``: it was shown once more with another content, which was not taken."""

    source: Source
    sent_at: datetime
    at: datetime
    differed_at: datetime | None


class LimitView(BaseModel):
    """``verdict``: now, later (after ``wait_s``) or refused; ``scope``: whose limit it was."""

    verdict: str
    scope: str
    wait_s: float


class DecisionView(BaseModel):
    """What became of it, and what was looked at for that. ``admitted``: it came before the
    responder at all; ``owner``: who the chat belonged to, the bot or a person; ``open``: whether
    the business was; ``requeued_at``: somebody asked for it again after it was given up."""

    state: InboxState
    reason: str
    admitted: bool
    owner: str | None
    open: bool | None
    intent: str | None
    limit: LimitView | None
    attempts: int
    next_at: datetime | None
    error: str
    requeued_at: datetime | None
    at: datetime | None


class ReplyView(BaseModel):
    """One message of ours, from its plan to its last ack. ``sent_at``: when the last attempt
    began; ``done_at``: when it was given up or taken back, and ``reason`` why it was taken back."""

    id: UUID
    wa_message_id: str
    cause: str
    part: int
    intent: str
    state: OutboxState
    status: MessageStatus | None
    reason: str
    attempts: int
    error: str
    planned_at: datetime
    next_at: datetime
    sent_at: datetime | None
    accepted_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    done_at: datetime | None


class MessageView(BaseModel):
    """One message through all its stages. ``answer`` says in a sentence what became of it.

    An incoming one has ``received``, ``decision`` and the ``replies`` to it; one of ours has
    itself as its only reply, with the ``cause``; one that a person typed only ``received``.
    """

    tenant_id: UUID
    id: UUID
    direction: Direction
    wa_message_id: str
    chat_key: str
    conversation_id: UUID | None
    type: MessageKind | None
    answer: str
    received: ReceivedView | None
    decision: DecisionView | None
    replies: list[ReplyView]


async def list_dead(call: Call[NoBody, DeadQuery]) -> DeadPageView:
    page = await call.deps.store.list_dead(
        call.tenant_id, limit=call.query.limit, after=call.query.after
    )
    return DeadPageView(
        tenant_id=call.tenant_id, items=[_dead_view(row) for row in page.rows], next=page.next
    )


async def explain_message(call: Call[NoBody, NoQuery]) -> MessageView:
    reference = call.request.match_info["message"]
    return _message_view(call, await call.deps.store.fetch_story(call.tenant_id, reference))


async def requeue_message(call: Call[NoBody, NoQuery]) -> MessageView:
    reference = call.request.match_info["message"]
    try:
        story, chat_key = await call.deps.store.requeue(call.tenant_id, reference)
    except WrongStateError:
        # It may wait because it was put back already, by a request whose answer was lost.
        story = await call.deps.store.fetch_story(call.tenant_id, reference)
        call.deps.fleet.wake(call.tenant_id, ChatKey(story.chat_key))
        raise
    call.deps.fleet.wake(call.tenant_id, chat_key)
    return _message_view(call, story)


def _message_view(call: Call[NoBody, NoQuery], story: Story) -> MessageView:
    seen = story if isinstance(story, SeenStory) else None
    replies = story.replies if isinstance(story, SeenStory) else [story]
    outgoing = seen is None or seen.from_me
    return MessageView(
        tenant_id=call.tenant_id,
        id=story.log_id,
        direction=Direction.OUT if outgoing else Direction.IN,
        wa_message_id=seen.wa_message_id if seen else replies[0].client_id,
        chat_key=story.chat_key,
        conversation_id=story.conversation_id,
        type=seen.kind if seen else MessageKind.TEXT,
        answer=answer_of(story),
        received=None if seen is None else _received_view(seen),
        decision=None if seen is None or seen.from_me else _decision_view(seen),
        replies=[_reply_view(reply) for reply in replies],
    )


def _received_view(story: SeenStory) -> ReceivedView:
    return ReceivedView(
        source=story.source,
        sent_at=story.sent_at,
        at=story.received_at,
        differed_at=story.differed_at,
    )


def _decision_view(story: SeenStory) -> DecisionView:
    trail = story.trail or {}
    limit = LimitView(
        verdict=trail.get("limit", ""),
        scope=trail.get("limit_scope", ""),
        wait_s=trail.get("wait_s", 0.0),
    )
    return DecisionView(
        state=story.state,
        reason=story.reason,
        admitted=story.state is not InboxState.SKIPPED or story.trail is not None,
        owner=trail.get("owner"),
        open=trail.get("open"),
        intent=trail.get("intent") or None,
        limit=limit if limit.verdict else None,
        attempts=story.attempts,
        next_at=story.next_at,
        error=story.error,
        requeued_at=story.requeued_at,
        at=story.done_at,
    )


def _reply_view(story: ReplyStory) -> ReplyView:
    return ReplyView(
        id=story.log_id,
        wa_message_id=story.client_id,
        cause=story.cause,
        part=story.part,
        intent=story.intent,
        state=story.state,
        status=story.status,
        reason=story.reason,
        attempts=story.attempts,
        error=story.error,
        planned_at=story.planned_at,
        next_at=story.next_at,
        sent_at=story.sent_at,
        accepted_at=story.accepted_at,
        delivered_at=story.delivered_at,
        read_at=story.read_at,
        done_at=story.done_at,
    )


def _dead_view(row: DeadRow) -> DeadView:
    return DeadView(
        id=row.log_id,
        direction=row.direction,
        wa_message_id=row.wa_message_id,
        chat_key=row.chat_key,
        attempts=row.attempts,
        error=row.error,
        died_at=row.died_at,
        created_at=row.at,
    )


ROUTES = (
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/messages",
        "list_dead_messages",
        "The messages that were given up, newest first",
        list_dead,
        body=NoBody,
        query=DeadQuery,
        answer=DeadPageView,
        needs=Scope.MESSAGES_READ,
    ),
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/messages/{message}",
        "explain_message",
        "One message through all its stages: why it was answered, or not",
        explain_message,
        body=NoBody,
        query=NoQuery,
        answer=MessageView,
        needs=Scope.MESSAGES_READ,
    ),
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/messages/{message}/requeue",
        "requeue_message",
        "Try again what was given up",
        requeue_message,
        body=NoBody,
        query=NoQuery,
        answer=MessageView,
        needs=Scope.MESSAGES_WRITE,
        problems=(WRONG_STATE,),
        repeatable=True,
    ),
)
