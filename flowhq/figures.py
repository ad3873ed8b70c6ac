"""What an operator looks at, as plain numbers: the shapes in which they are handed around."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flowhq.model import TenantId


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant's browser takes: bytes of its own, and CPU seconds since the daemon began to
    look."""

    memory_bytes: int
    cpu_s: float
    processes: int


@dataclass(frozen=True, slots=True)
class TenantFigures:
    """One tenant's own series; ``queues`` are those with something in them."""

    connected: bool
    restarts: int
    queues: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """Database connections: those open, those of them that idle, how many there may be, and who
    waits for one."""

    size: int = 0
    idle: int = 0
    limit: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What is not counted but looked at. ``tenants`` by status, session and worker; ``as_of`` in
    seconds since 1970, by where the figures come from; ``webhooks`` by what their events wait
    for."""

    as_of: Mapping[str, float] = field(default_factory=dict)
    database_up: bool = False
    tenants: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    oldest_s: Mapping[str, float] = field(default_factory=dict)
    per_tenant: Mapping[TenantId, TenantFigures] = field(default_factory=dict)
    restarts: int = 0
    incident_tenants: int = 0
    lag_s: Mapping[str, float] = field(default_factory=dict)
    webhooks: Mapping[str, int] = field(default_factory=dict)
    webhooks_oldest_s: float = 0.0
    streams: int = 0
    pool: PoolFigures = PoolFigures()
