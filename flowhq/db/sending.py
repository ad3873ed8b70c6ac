"""Messages that a program asks for: into the outbox like every reply, once for each cause.

The cause begins with ``api:``; the sender gives such a message its turn in the tenant's limits.
"""

from dataclasses import dataclass, field

from flowhq.db import datakeys, outbox, stories
from flowhq.db.cleaning import clean_text
from flowhq.db.installation import Installation
from flowhq.db.pool import Database, Tx
from flowhq.db.stories import ReplyStory
from flowhq.errors import AlreadyExistsError, InvalidInputError, NotFoundError, WrongStateError
from flowhq.model import ChatKey, Jid, Reply, TenantId

INTENT = "api"
PHONE_SERVER = "c.us"

OWN_NUMBER = "SELECT phone_number FROM tenants WHERE id = $1"
LOCK_CHAT = """
SELECT (o_chat).contact_id FROM lock_chat($1::uuid, $2::text, ARRAY[$2::text], $3::text, NULL)
"""
# Apart from it: what a function makes is seen by the next statement only.
OPTED_OUT = "SELECT opted_out_at IS NOT NULL FROM contacts WHERE tenant_id = $1 AND id = $2"
FIND_CAUSE = """
SELECT client_id, to_jid, body ->> 'text' AS text FROM outbox
WHERE tenant_id = $1 AND cause = $2 AND part = 0
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to say to whom. ``number`` is E.164; ``cause`` begins with ``api:`` and names the wish
    for ever: asked for twice, it is one message."""

    cause: str
    number: str = field(repr=False)
    text: str = field(repr=False)


class Sending:
    """One for the daemon; ``installation`` gives each tenant the key of its message ids."""

    def __init__(self, database: Database, installation: Installation) -> None:
        self._database = database
        self._installation = installation

    async def ask(self, tenant_id: TenantId, wanted: Wanted) -> tuple[ReplyStory, ChatKey]:
        """The planned message and its chat, or the one that this cause planned before:
        AlreadyExistsError if that one says something else, or to somebody else."""
        jid = Jid(f"{wanted.number.removeprefix('+')}@{PHONE_SERVER}")
        async with self._database.tenant(tenant_id) as tx:
            own = await tx.fetchrow(OWN_NUMBER, tenant_id)
            if own is None:
                raise NotFoundError(f"There is no tenant {tenant_id}.")
            if own["phone_number"] is None:
                raise WrongStateError(
                    "The tenant has no number yet.", next_step="Approve its setup request first."
                )
            if own["phone_number"] == wanted.number:
                raise InvalidInputError("is the tenant's own number.", field="to")
            key = await datakeys.read_message_key(tx, self._installation, tenant_id)
            if not await self._is_planned(tx, tenant_id, jid, wanted):
                await self._plan(tx, tenant_id, key, jid, wanted)
                # Whoever planned under this cause in the same moment came first.
                await self._is_planned(tx, tenant_id, jid, wanted)
            client_id = outbox.client_id(key, wanted.cause, 0)
            story = await stories.find_story(tx, tenant_id, client_id)
        if not isinstance(story, ReplyStory):
            raise NotFoundError("The message is not kept any more.")
        return story, ChatKey(story.chat_key)

    async def _is_planned(self, tx: Tx, tenant_id: TenantId, jid: Jid, wanted: Wanted) -> bool:
        """AlreadyExistsError if it is another message that the cause stands for."""
        known = await tx.fetchrow(FIND_CAUSE, tenant_id, wanted.cause)
        if known is None:
            return False
        if (known["to_jid"], known["text"]) != (jid, clean_text(wanted.text)):
            raise AlreadyExistsError(
                "This key was used for another message.",
                field="Idempotency-Key",
                next_step="Use a new key for each message.",
            )
        return True

    async def _plan(
        self, tx: Tx, tenant_id: TenantId, key: bytes, jid: Jid, wanted: Wanted
    ) -> None:
        contact_id = await tx.fetchval(LOCK_CHAT, tenant_id, jid, wanted.number)
        if await tx.fetchval(OPTED_OUT, tenant_id, contact_id):
            raise WrongStateError(
                "The contact said stop: nothing is sent to them.",
                next_step="They can opt in again by writing so to the bot themselves.",
            )
        plan = outbox.Plan(ChatKey(jid), jid, wanted.cause, (Reply(wanted.text, INTENT),))
        await outbox.plan(tx, tenant_id, key, plan)
