"""A backup of one tenant, taken by the running daemon: the tenant rests meanwhile.

The file stays on the daemon's machine, in the configured directory: it holds the pairing, and is
brought elsewhere by other means than this API. Restoring is a command (`restore-tenant`).
"""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from pydantic import BaseModel, Field, SecretStr

from flowhq.admin.inputs import Input, NoQuery
from flowhq.admin.problems import MISCONFIGURED, WRONG_STATE
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope

PASSPHRASE_MIN, PASSPHRASE_MAX = 12, 1000


class BackupOrder(Input):
    """``passphrase`` locks the file; without one the configured key does."""

    passphrase: SecretStr | None = Field(
        default=None, min_length=PASSPHRASE_MIN, max_length=PASSPHRASE_MAX
    )


class BackupView(BaseModel):
    """A finished backup: ``file`` is on the daemon's machine, ``rows`` is by table."""

    tenant_id: UUID
    file: str
    size_bytes: int
    taken_at: datetime
    profile_files: int
    rows: Mapping[str, int]


async def back_up_tenant(call: Call[BackupOrder, NoQuery]) -> BackupView:
    tenant_id, secret = call.tenant_id, call.body.passphrase
    passphrase = None if secret is None else secret.get_secret_value()
    taken = await call.deps.fleet.rest(
        tenant_id, lambda: call.deps.backups.take(tenant_id, passphrase)
    )
    return BackupView(
        tenant_id=tenant_id,
        file=str(taken.file),
        size_bytes=taken.size_bytes,
        taken_at=taken.taken_at,
        profile_files=taken.files,
        rows=taken.rows,
    )


ROUTES = (
    Route(
        "POST",
        "/admin/tenants/{tenant_id}/backup",
        "back_up_tenant",
        "Stop the tenant, write all of it into one encrypted file, and start it again",
        back_up_tenant,
        body=BackupOrder,
        query=NoQuery,
        answer=BackupView,
        needs=Scope.DATA_EXPORT,
        status=HTTPStatus.CREATED,
        problems=(WRONG_STATE, MISCONFIGURED),
    ),
)
