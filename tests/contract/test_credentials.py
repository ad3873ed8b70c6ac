"""Both stores of credentials, and both books of the audit, keep the contract."""

import pytest

from flowhq.admin.credentials import Credentials, PostgresCredentials
from flowhq.admin.recording import AuditBook
from flowhq.admin.store import PostgresAudit
from flowhq.db.pool import Database
from tests.contract.credentials_contract import AuditContract, CredentialsContract
from tests.fakes.admin import FakeAudit
from tests.fakes.credentials import FakeCredentials
from tests.pg import database, pg_home, pg_server, postgres_url

__all__ = ["database", "pg_home", "pg_server", "postgres_url"]


class TestFakeCredentials(CredentialsContract):
    @pytest.fixture
    def credentials(self) -> Credentials:
        return FakeCredentials()


class TestPostgresCredentials(CredentialsContract):
    @pytest.fixture
    def credentials(self, database: Database) -> Credentials:
        return PostgresCredentials(database)


class TestFakeAudit(AuditContract):
    @pytest.fixture
    def audit(self) -> AuditBook:
        return FakeAudit()


class TestPostgresAudit(AuditContract):
    @pytest.fixture
    def audit(self, database: Database) -> AuditBook:
        return PostgresAudit(database)
