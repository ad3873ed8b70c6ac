"""What the portal's handlers need of the database, gathered under one object."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from flowhq.db import pairinglinks, portal, portalkeys, portalsessions, setup
from flowhq.db.pool import Database
from flowhq.model import TenantId


class PortalStore:
    """Owners, setup requests and portal keys on an open database, which it does not own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- owners ---------------------------------------------------------------------------------

    async def find_user(self, email: str) -> portal.PortalUser | None:
        return await portal.find_user(self._database, email)

    async def sign_in(self, owner: portal.NewOwner) -> tuple[portal.PortalUser, bool]:
        return await portal.sign_in(self._database, owner)

    async def update_user(
        self, user: portal.PortalUser, changes: Mapping[str, Any]
    ) -> portal.PortalUser:
        return await portal.update_user(self._database, user, changes)

    async def note(self, user: portal.PortalUser, event: portal.PortalEvent) -> None:
        await portal.note(self._database, user, event)

    # -- setup requests -------------------------------------------------------------------------

    async def submit_setup(
        self, user: portal.PortalUser, new: setup.NewRequest
    ) -> setup.SetupRequest:
        return await setup.submit(self._database, user, new)

    async def latest_setup(self, tenant_id: TenantId) -> setup.SetupRequest | None:
        return await setup.latest(self._database, tenant_id)

    async def list_setups(
        self,
        *,
        status: setup.SetupStatus | None,
        tenants: Sequence[TenantId] | None,
        limit: int,
        after: str | None,
    ) -> setup.RequestPage:
        return await setup.list_requests(
            self._database, status=status, tenants=tenants, limit=limit, after=after
        )

    async def fetch_setup(self, request_id: UUID) -> setup.SetupRequest:
        return await setup.fetch_request(self._database, request_id)

    async def review_setup(self, request: setup.SetupRequest, *, by: str) -> setup.SetupRequest:
        return await setup.review(self._database, request, by=by)

    async def approve_setup(self, request: setup.SetupRequest, *, by: str) -> setup.SetupRequest:
        return await setup.approve(self._database, request, by=by)

    async def reject_setup(
        self, request: setup.SetupRequest, *, by: str, reason: str
    ) -> setup.SetupRequest:
        return await setup.reject(self._database, request, by=by, reason=reason)

    # -- pairing links --------------------------------------------------------------------------

    async def create_link(
        self, tenant_id: TenantId, *, by: str, lifetime_s: int
    ) -> pairinglinks.MadeLink:
        return await pairinglinks.create_link(
            self._database, tenant_id, by=by, lifetime_s=lifetime_s
        )

    async def list_links(self, tenant_id: TenantId) -> Sequence[pairinglinks.PairingLink]:
        return await pairinglinks.list_links(self._database, tenant_id)

    async def revoke_link(self, tenant_id: TenantId, link_id: UUID) -> pairinglinks.PairingLink:
        return await pairinglinks.revoke_link(self._database, tenant_id, link_id)

    async def open_link(self, token: str) -> pairinglinks.PairingLink:
        return await pairinglinks.open_link(self._database, token)

    # -- sessions -------------------------------------------------------------------------------

    async def begin_session(self, user: portal.PortalUser) -> str:
        return await portalsessions.begin_session(self._database, user)

    async def find_session(self, secret: str) -> portalsessions.PortalSession | None:
        return await portalsessions.find_session(self._database, secret)

    async def end_session(self, session: portalsessions.PortalSession) -> None:
        await portalsessions.end_session(self._database, session)

    # -- keys -----------------------------------------------------------------------------------

    async def create_key(self, name: str) -> portalkeys.MadeKey:
        return await portalkeys.create_key(self._database, name)

    async def list_keys(self) -> Sequence[portalkeys.PortalKey]:
        return await portalkeys.list_keys(self._database)

    async def retire_key(self, key_id: UUID) -> portalkeys.PortalKey:
        return await portalkeys.retire_key(self._database, key_id)

    async def check_key(self, secret: str) -> portalkeys.PortalKey | None:
        return await portalkeys.check_key(self._database, secret)
