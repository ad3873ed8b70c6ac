"""The numbers of this daemon's own tenants: what they write is never answered by a bot.

One set for all tenants, shared by reference; it is replaced as a whole and never changed.
"""

from collections.abc import Iterable, Mapping

from flowhq.model import InboundMessage, TenantId


class OwnNumbers:
    """Digits of phone numbers and LIDs, by tenant. The desk fills it, the bots ask it."""

    def __init__(self, numbers: Mapping[TenantId, Iterable[str]] | None = None) -> None:
        self._by_tenant: dict[TenantId, frozenset[str]] = {}
        self._all: frozenset[str] = frozenset()
        for tenant_id, digits in (numbers or {}).items():
            self.learn(tenant_id, *digits)

    def learn(self, tenant_id: TenantId, *digits: str) -> None:
        """A tenant answers under these as well; an empty one is none."""
        known = self._by_tenant.get(tenant_id, frozenset())
        wanted = known | {one for one in digits if one}
        if wanted != known:
            self._by_tenant[tenant_id] = wanted
            self._join()

    def forget(self, tenant_id: TenantId) -> None:
        """The tenant is gone, its numbers are anybody's."""
        if self._by_tenant.pop(tenant_id, None) is not None:
            self._join()

    def wrote(self, message: InboundMessage, *, phone: str = "") -> bool:
        """Whether the other end of the message's chat is one of ours. ``phone``: digits that are
        known of the contact beside what the message itself shows."""
        return not self._all.isdisjoint((message.phone, message.lid, phone))

    def _join(self) -> None:
        self._all = frozenset().union(*self._by_tenant.values())
