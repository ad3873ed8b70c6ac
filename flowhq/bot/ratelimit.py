"""How often a tenant answers: token buckets, and the verdict per reply.

Two limits, both of the original: the tenant's protects its number from looking like a spammer,
the contact's protects the tenant from one chatty customer (or another bot). The tenant's delays a
reply, the contact's refuses it. Nothing here waits: a verdict says how long the sender must. What
came in live goes before what waited over an absence, which takes its turn (`ReplyLimits.take`).
"""

from dataclasses import dataclass
from enum import StrEnum

from cachetools import TTLCache

from flowhq.bucket import TINY, Monotonic, TokenBucket
from flowhq.model import ChatKey

TENANT_REPLIES = 10
"""Replies of a tenant in a burst and per ``TENANT_PERIOD_S``: the original's 10 a minute. Higher
looks automated to WhatsApp; lower makes customers wait."""
TENANT_PERIOD_S = 60.0
CONTACT_REPLIES = 20
"""Replies to one contact in a burst and per ``CONTACT_PERIOD_S``: a whole order takes about 8."""
CONTACT_PERIOD_S = 600.0
MAX_WAIT_S = 600.0
"""A reply later than this to a live message answers nobody any more, so it is refused instead of
delayed."""
CONTACTS_MAX = 10_000
"""Contacts remembered per tenant (about 3 MB). Beyond it the longest unseen starts afresh."""
RECOVERED_SHARE = 0.25
"""Part of a contact's bucket that must be back before its episode is over. With a single token
the "slow down" notice would come again at every refill, to the very contact it should calm."""


class Admission(StrEnum):
    """NOW: send. LATER: send after ``wait_s``. REFUSED: do not send this reply at all."""

    NOW = "now"
    LATER = "later"
    REFUSED = "refused"


class LimitScope(StrEnum):
    """Whose limit spoke; NONE when the reply may go at once."""

    NONE = "none"
    TENANT = "tenant"
    CONTACT = "contact"


@dataclass(frozen=True, slots=True)
class Limit:
    """The verdict on one reply. ``first_of_episode``: give the one "slow down" notice now."""

    admission: Admission
    scope: LimitScope = LimitScope.NONE
    wait_s: float = 0.0
    first_of_episode: bool = False


@dataclass(frozen=True, slots=True)
class ReplyBudget:
    """Replies per period of seconds, and the longest delay; bursts up to the same number."""

    tenant_replies: int = TENANT_REPLIES
    tenant_period_s: float = TENANT_PERIOD_S
    contact_replies: int = CONTACT_REPLIES
    contact_period_s: float = CONTACT_PERIOD_S
    max_wait_s: float = MAX_WAIT_S


@dataclass(frozen=True, slots=True)
class LimitLevels:
    """Where a tenant stands: replies it could give now, seconds to the next, episode running."""

    tenant_tokens: float
    tenant_wait_s: float
    tenant_in_episode: bool
    contacts: int


@dataclass(slots=True)
class _Contact:
    bucket: TokenBucket
    in_episode: bool = False


class ReplyLimits:
    """One tenant's limits. Not for several threads; the tenant's task owns it.

    An episode starts with the first reply that is held back and ends when the bucket allows again
    (the tenant's: a token at once; a contact's: a quarter of its bucket). One notice each.
    """

    def __init__(self, settings: ReplyBudget, *, monotonic: Monotonic) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._tenant = TokenBucket(
            capacity=settings.tenant_replies,
            refill_per_s=settings.tenant_replies / settings.tenant_period_s,
            monotonic=monotonic,
        )
        self._tenant_in_episode = False
        self._contacts: TTLCache[ChatKey, _Contact] = TTLCache(
            CONTACTS_MAX, settings.contact_period_s, timer=monotonic
        )

    def admit(self, chat_key: ChatKey, *, waited_s: float | None = None) -> Limit:
        """The verdict on one reply to this chat; takes the tokens unless it is REFUSED.

        ``waited_s``: its token of the tenant was taken by ``take``, after so many seconds. Then
        only the contact's limit can refuse it, and it is due at once.
        """
        contact = self._contact(chat_key)
        if contact.bucket.wait_for() > 0:
            return self._refuse_contact(contact)
        if contact.in_episode and self._recovered(contact.bucket):
            contact.in_episode = False
        if waited_s is not None:
            contact.bucket.try_acquire()
            return _after_its_turn(waited_s)
        wait_s = self._tenant.reserve(max_wait_s=self._settings.max_wait_s)
        if wait_s is not None:
            contact.bucket.try_acquire()
        if wait_s == 0:
            self._tenant_in_episode = False
            return Limit(Admission.NOW)
        first, self._tenant_in_episode = not self._tenant_in_episode, True
        if wait_s is None:
            return Limit(
                Admission.REFUSED,
                LimitScope.TENANT,
                self._tenant.wait_for(),
                first_of_episode=first,
            )
        return Limit(Admission.LATER, LimitScope.TENANT, wait_s, first_of_episode=first)

    def take(self) -> float:
        """For what live replies do not wait for: what answers nobody, or a message that waited over
        an absence. 0.0 and the tenant's token is taken, or the seconds until one may be there, and
        nothing is."""
        return 0.0 if self._tenant.try_acquire() else self._tenant.wait_for()

    @property
    def in_debt(self) -> bool:
        """Live replies have reserved more than there is."""
        return self._tenant.peek() < 0

    def line_up(self) -> float:
        """As ``take``, but behind all that is reserved: the seconds until its token may be used."""
        wait_s = self._tenant.reserve()
        assert wait_s is not None  # noqa: S101 - it waits however long
        return wait_s

    def give_back(self) -> None:
        """What ``take`` or ``line_up`` gave was not used."""
        self._tenant.give_back()

    def peek(self) -> LimitLevels:
        """Where the tenant stands; changes nothing."""
        wait_s = self._tenant.wait_for()
        return LimitLevels(
            tenant_tokens=self._tenant.peek(),
            tenant_wait_s=wait_s,
            tenant_in_episode=self._tenant_in_episode and wait_s > 0,
            contacts=len(self._contacts),
        )

    def _refuse_contact(self, contact: _Contact) -> Limit:
        first, contact.in_episode = not contact.in_episode, True
        return Limit(
            Admission.REFUSED, LimitScope.CONTACT, contact.bucket.wait_for(), first_of_episode=first
        )

    def _recovered(self, bucket: TokenBucket) -> bool:
        return bucket.peek() >= max(1.0, self._settings.contact_replies * RECOVERED_SHARE) - TINY

    def _contact(self, chat_key: ChatKey) -> _Contact:
        contact = self._contacts.get(chat_key)
        if contact is None:
            contact = _Contact(
                TokenBucket(
                    capacity=self._settings.contact_replies,
                    refill_per_s=self._settings.contact_replies / self._settings.contact_period_s,
                    monotonic=self._monotonic,
                )
            )
        # Stored again on every use: the cache drops by age since the last one, and a bucket
        # unused for its whole period is full, so forgetting it loses nothing.
        self._contacts[chat_key] = contact
        return contact


def _after_its_turn(waited_s: float) -> Limit:
    """No notice: the answer itself is due."""
    if not waited_s:
        return Limit(Admission.NOW)
    return Limit(Admission.LATER, LimitScope.TENANT, waited_s)
