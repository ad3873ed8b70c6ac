"""What a credential may do: scopes, and the roles that are bundles of them.

A route names the one scope it needs (`Route.needs`); a principal has a set of scopes and, perhaps,
a list of the only tenants it reaches. There is no other rule.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from flowhq.model import TenantId


class Scope(StrEnum):
    """One thing that may be done; the names are the API's (tokens carry them)."""

    STATUS_READ = "status:read"  # health in detail, figures, accounts: nothing of a person
    TENANTS_READ = "tenants:read"  # tenants, their states and events
    TENANTS_OPERATE = "tenants:operate"  # verbs, the pairing code
    TENANTS_WRITE = "tenants:write"  # create, change, delete
    MESSAGES_READ = "messages:read"  # logs, chats and the stories of messages: texts of people
    MESSAGES_WRITE = "messages:write"  # try again, resume a chat
    MESSAGES_SEND = "messages:send"  # send a message of one's own
    EVENTS_READ = "events:read"  # the stream of events
    WEBHOOKS_WRITE = "webhooks:write"  # endpoints that events are sent to
    REQUESTS_READ = "requests:read"  # setup requests of business owners
    REQUESTS_WRITE = "requests:write"  # approve and reject them
    DATA_EXPORT = "data:export"  # all that is stored of a tenant or a contact, as a file
    DATA_ERASE = "data:erase"  # and its erasure
    ADMIN = "admin"  # users, tokens, portal keys, sessions, the audit
    PORTAL = "portal"  # what business owners see and do; of portal keys alone


class Role(StrEnum):
    """What an admin user is; each one may all that the one before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_VIEWER = frozenset(
    {
        Scope.STATUS_READ,
        Scope.TENANTS_READ,
        Scope.MESSAGES_READ,
        Scope.EVENTS_READ,
        Scope.REQUESTS_READ,
    }
)
_OPERATOR = _VIEWER | {
    Scope.TENANTS_OPERATE,
    Scope.TENANTS_WRITE,
    Scope.MESSAGES_WRITE,
    Scope.MESSAGES_SEND,
    Scope.REQUESTS_WRITE,
}
ROLE_SCOPES = MappingProxyType(
    {
        Role.VIEWER: _VIEWER,
        Role.OPERATOR: _OPERATOR,
        Role.ADMIN: frozenset(Scope) - {Scope.PORTAL},
    }
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who made a request. ``name`` is for the log and the audit, such as ``user:asha``;
    ``tenants`` None reaches all."""

    name: str
    scopes: frozenset[Scope]
    tenants: frozenset[TenantId] | None = None

    def reaches(self, tenant_id: TenantId) -> bool:
        return self.tenants is None or tenant_id in self.tenants
