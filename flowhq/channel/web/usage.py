"""What each browser takes of the machine: one look at /proc for all of them together."""

import os
from collections.abc import Iterable, Mapping

from flowhq.channel.web import process
from flowhq.channel.web.process import PROC, Process
from flowhq.figures import Usage
from flowhq.model import TenantId

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class UsageMeter:
    """Adds up the CPU time of processes that come and go: a renderer's seconds stay its tenant's
    when it ends. One that ends between two looks takes its last seconds with it."""

    def __init__(self) -> None:
        self._ticks: dict[tuple[int, int], int] = {}
        self._cpu_s: dict[TenantId, float] = {}

    def measure(self, leaders: Mapping[TenantId, Process]) -> Mapping[TenantId, Usage]:
        """Of the browsers with these first processes. Blocks for some 20 µs a process of the
        machine: not for the event loop. One call at a time."""
        trees = _trees(process.all_processes(), leaders)
        known, self._ticks = self._ticks, {}
        self._cpu_s = {tenant: self._cpu_s.get(tenant, 0.0) for tenant in leaders}
        found = {}
        for tenant_id, tree in trees.items():
            memory = 0
            for one in tree:
                key = (one.pid, one.started)
                self._ticks[key] = one.cpu_ticks
                self._cpu_s[tenant_id] += (one.cpu_ticks - known.get(key, 0)) / TICKS_PER_S
                memory += _own_bytes(one.pid)
            found[tenant_id] = Usage(memory, self._cpu_s[tenant_id], len(tree))
        return found


def _trees(
    processes: Iterable[Process], leaders: Mapping[TenantId, Process]
) -> dict[TenantId, list[Process]]:
    """Every process under the browser whose session it is in, or from whose tree it came."""
    by_pid = {one.pid: one for one in processes}
    owners = {
        leader.pid: tenant_id
        for tenant_id, leader in leaders.items()
        if by_pid.get(leader.pid) == leader
    }
    trees: dict[TenantId, list[Process]] = {tenant_id: [] for tenant_id in owners.values()}
    for one in by_pid.values():
        above: Process | None = one
        while above is not None:
            owner = owners.get(above.pid) or owners.get(above.session)
            if owner is not None:
                trees[owner].append(one)
                break
            above = by_pid.get(above.parent)
    return trees


def _own_bytes(pid: int) -> int:
    """Resident memory without what is shared with others; 0 for one that is gone."""
    try:
        resident, shared = (PROC / str(pid) / "statm").read_text().split()[1:3]
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE_BYTES
