"""A tenant's chats: who writes, and where the bot keeps silent until it is told otherwise."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from flowhq.admin.inputs import NoBody, NoQuery, Query, read_path_id
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.db.chats import ChatRow, Silence

CHATS_DEFAULT = 100
CHATS_MAX = 500

Place = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ChatsQuery(Query):
    """``after`` is the ``next`` of the page before this one; without ``state`` every chat."""

    state: Silence | None = None
    limit: int = Field(default=CHATS_DEFAULT, ge=1, le=CHATS_MAX)
    after: Place | None = None


class ChatView(BaseModel):
    """One chat. ``paused_until``: a person took over. ``muted_until``: two bots were answering
    each other. Both null when the bot answers; ``opted_out``: the contact said stop."""

    id: UUID
    contact_name: str
    contact_number: str
    last_message_at: datetime | None
    last_customer_message_at: datetime | None
    last_outgoing_at: datetime | None
    last_person_message_at: datetime | None
    paused_until: datetime | None
    muted_until: datetime | None
    opted_out: bool
    created_at: datetime


class ChatPageView(BaseModel):
    """The newest chat first; ``next`` goes into ``after``, null on the last page."""

    tenant_id: UUID
    items: list[ChatView]
    next: str | None


async def list_chats(call: Call[NoBody, ChatsQuery]) -> ChatPageView:
    page = await call.deps.store.list_chats(
        call.tenant_id,
        silence=call.query.state,
        limit=call.query.limit,
        after=call.query.after,
    )
    return ChatPageView(
        tenant_id=call.tenant_id, items=[_view(row) for row in page.rows], next=page.next
    )


async def resume_chat(call: Call[NoBody, NoQuery]) -> ChatView:
    chat_id = read_path_id(call.request, "chat")
    return _view(await call.deps.store.resume_chat(call.tenant_id, chat_id))


def _view(row: ChatRow) -> ChatView:
    return ChatView(
        id=row.chat_id,
        contact_name=row.contact_name,
        contact_number=row.contact_number,
        last_message_at=row.last_message_at,
        last_customer_message_at=row.last_customer_message_at,
        last_outgoing_at=row.last_outgoing_at,
        last_person_message_at=row.last_person_message_at,
        paused_until=row.paused_until,
        muted_until=row.muted_until,
        opted_out=row.opted_out_at is not None,
        created_at=row.created_at,
    )


ROUTES = (
    Route(
        "GET",
        "/admin/tenants/{tenant_id}/chats",
        "list_chats",
        "The tenant's chats, the newest first; those where the bot keeps silent",
        list_chats,
        body=NoBody,
        query=ChatsQuery,
        answer=ChatPageView,
        needs=Scope.MESSAGES_READ,
    ),
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/chats/{chat}/resume",
        "resume_chat",
        "Let the bot answer in this chat again",
        resume_chat,
        body=NoBody,
        query=NoQuery,
        answer=ChatView,
        needs=Scope.MESSAGES_WRITE,
        repeatable=True,
    ),
)
