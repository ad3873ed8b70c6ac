"""Secrets that say themselves which tenant they are of, so that they are looked up inside its
scope: the tenant's id, then 256 random bits, in base64url. Only the sum of the whole is stored."""

import base64
import binascii
import hashlib
import secrets
from uuid import UUID

from flowhq.model import TenantId

ID_BYTES = 16
SECRET_BYTES = 32
# 48 bytes in base64url, which needs no padding.
TOKEN_CHARS = 64


def new_token(tenant_id: TenantId) -> str:
    raw = tenant_id.bytes + secrets.token_bytes(SECRET_BYTES)
    return base64.urlsafe_b64encode(raw).decode()


def tenant_of(token: str) -> TenantId | None:
    """The tenant that the token names, which is not proved by it; None if it cannot be one."""
    if len(token) != TOKEN_CHARS:
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return TenantId(UUID(bytes=raw[:ID_BYTES]))


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
