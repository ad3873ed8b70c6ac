"""What browsers take: each process under its tenant, and no second counted twice or lost."""

from pathlib import Path
from uuid import UUID

import pytest

from flowhq.channel.web import process, usage
from flowhq.channel.web.usage import PAGE_BYTES, TICKS_PER_S, UsageMeter
from flowhq.model import TenantId

ASHA, JUMA = TenantId(UUID(int=1)), TenantId(UUID(int=2))


class Machine:
    """A /proc of its own, with browsers in it."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc

    def run(self, pid: int, parent: int, session: int, *, ticks: int, pages: int = 0) -> None:
        folder = self._proc / str(pid)
        folder.mkdir(exist_ok=True)
        fields = ["S", str(parent), "0", str(session), *["0"] * 7, str(ticks), "0", *["0"] * 6]
        (folder / "stat").write_text(f"{pid} (chrome (x)) {' '.join(fields)} {1000 + pid} 0\n")
        (folder / "statm").write_text(f"9999 {pages + 7} 7 0 0 0 0\n")

    def end(self, pid: int) -> None:
        for name in ("stat", "statm"):
            (self._proc / str(pid) / name).unlink()

    def leader(self, pid: int) -> process.Process:
        found = process.find_process(pid)
        assert found is not None
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(process, "PROC", tmp_path)
    monkeypatch.setattr(usage, "PROC", tmp_path)
    return Machine(tmp_path)


def test_children_and_those_of_the_session_count_for_their_browser(machine: Machine) -> None:
    machine.run(1, 0, 1, ticks=500, pages=50)
    machine.run(10, 1, 10, ticks=100, pages=4)
    machine.run(11, 10, 11, ticks=20, pages=2)  # its own session, from the same tree
    machine.run(12, 1, 10, ticks=3, pages=1)  # adopted, still in the session
    machine.run(20, 1, 20, ticks=TICKS_PER_S, pages=9)
    found = UsageMeter().measure({ASHA: machine.leader(10), JUMA: machine.leader(20)})
    assert (found[ASHA].processes, found[ASHA].memory_bytes) == (3, 7 * PAGE_BYTES)
    assert found[ASHA].cpu_s == pytest.approx(123 / TICKS_PER_S)
    assert (found[JUMA].processes, found[JUMA].cpu_s) == (1, 1.0)


def test_the_seconds_of_a_process_stay_when_it_ends(machine: Machine) -> None:
    meter = UsageMeter()
    machine.run(10, 1, 10, ticks=100)
    machine.run(11, 10, 10, ticks=50)
    browser = {ASHA: machine.leader(10)}
    meter.measure(browser)
    machine.end(11)
    machine.run(10, 1, 10, ticks=110)
    assert meter.measure(browser)[ASHA].cpu_s == pytest.approx(160 / TICKS_PER_S)


def test_a_browser_that_is_gone_is_not_told_and_its_pid_is_nobody_elses(machine: Machine) -> None:
    machine.run(10, 1, 10, ticks=100)
    browser = machine.leader(10)
    machine.end(10)
    assert UsageMeter().measure({ASHA: browser}) == {}
