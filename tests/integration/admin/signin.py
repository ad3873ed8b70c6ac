"""Fixtures: an API at which owners sign in, with an issuer of the tests on this machine."""

from collections.abc import AsyncIterator

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from flowhq.config import PortalSettings
from flowhq.egress.client import EgressClient
from tests.fakes.issuer import Issuer, new_key, serving
from tests.integration.webhooks.conftest import LOOPBACK


@pytest.fixture(scope="session")
def issuer_key() -> RSAKey:
    return new_key("first")


@pytest.fixture
async def issuer(issuer_key: RSAKey) -> AsyncIterator[Issuer]:
    async with serving(Issuer(issuer_key)) as issuer:
        yield issuer


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    """One that may call this machine, where the issuer is."""
    async with EgressClient(LOOPBACK) as client:
        yield client


@pytest.fixture
def portal_settings(issuer: Issuer) -> PortalSettings:
    return PortalSettings(
        issuer=issuer.url,
        client_id=issuer.client_id,
        client_secret=SecretStr(issuer.client_secret),
    )
