"""What a burst leaves free is given back, also from between pieces that live on."""

import asyncio
import subprocess
import sys

import pytest

from flowhq import heap
from tests.fakes.clock import FakeClock, settle

# 64 MB in pieces that malloc does not map one by one, and a small one that stays behind each.
BURST = """
from pathlib import Path
from flowhq.heap import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

pieces = [(bytearray(100_000), bytearray(1_000)) for _ in range(640)]
kept = [small for _, small in pieces]
pieces.clear()
before = resident()
assert give_back() is True
print(before - resident())
"""


def test_what_is_free_between_living_pieces_goes_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BURST], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 32_000_000


async def test_it_is_done_each_minute() -> None:
    clock = FakeClock()
    keeping = asyncio.create_task(heap.keep(clock))
    await settle()
    await clock.advance(2 * heap.GIVE_BACK_EVERY_S)
    assert len(clock.naps) == 3
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def test_another_c_library_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    clock = FakeClock()
    await heap.keep(clock)
    assert clock.naps == []
