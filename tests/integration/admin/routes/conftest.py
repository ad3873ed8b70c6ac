"""Fixtures: the API with all that stands behind it on PostgreSQL, for the whole table of routes.

Only the tenants' workers and the files of backups are made up. Nothing leaves this machine: no
name is known, and what may be called is on loopback.
"""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from flowhq.admin.credentials import PostgresCredentials
from flowhq.admin.outward import Outward
from flowhq.admin.portal_store import PortalStore
from flowhq.admin.store import PostgresAudit, PostgresStore
from flowhq.clock import SystemClock
from flowhq.db.installation import load_installation
from flowhq.db.pool import Database
from flowhq.db.sending import Sending
from flowhq.egress.client import EgressClient
from flowhq.metrics import Metrics
from flowhq.webhooks.desk import WebhookDesk
from flowhq.webhooks.dispatcher import Dispatcher
from flowhq.webhooks.feed import Feed
from tests.integration.admin.signin import issuer, issuer_key, portal_settings
from tests.integration.webhooks.conftest import LOOPBACK

__all__ = ["issuer", "issuer_key", "portal_settings"]

# A stream whose client went away keeps its place for a second.
STREAMS_MAX = 10_000


class Nowhere(AbstractResolver):
    """Knows no name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError("there is no such name")

    async def close(self) -> None:
        """There is nothing to close."""


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(database)


@pytest.fixture
def portal(database: Database) -> PortalStore:
    return PortalStore(database)


@pytest.fixture
def audit(database: Database) -> PostgresAudit:
    return PostgresAudit(database)


@pytest.fixture
async def credentials(database: Database) -> PostgresCredentials:
    return PostgresCredentials(database)


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    async with EgressClient(LOOPBACK, resolver=Nowhere()) as client:
        yield client


@pytest.fixture
def feed(database: Database) -> Feed:
    """Moved on by the test: no event is numbered by itself, no delivery made."""
    return Feed(
        database,
        SystemClock(),
        keep_days=7,
        streams_max=STREAMS_MAX,
        queued=lambda after, until: None,
    )


@pytest.fixture
async def outward(
    database: Database, postgres_url: str, egress: EgressClient, feed: Feed
) -> Outward:
    clock = SystemClock()
    dispatcher = Dispatcher(database, egress, clock, Metrics(), at_once=4)
    return Outward(
        webhooks=WebhookDesk(database, egress, dispatcher, clock),
        feed=feed,
        sending=Sending(database, await load_installation(postgres_url)),
    )
