"""The page's line to Python (inject/line.js), run by the Node that Playwright brings along."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable

LINE = Path(__file__).parents[3] / "flowhq/channel/web/inject/line.js"
# A page in which the first calls to Python are refused, and time passes at once.
PAGE = """
const SETTINGS = {binding: 'emit'};
const calls = [], drops = {}, timers = [];
let refused = %d;
const window = {emit: async (payload) => {
  if (refused > 0) { refused -= 1; throw new Error('nobody takes it'); }
  calls.push(JSON.parse(payload).e);
}};
const countDrop = (reason) => { drops[reason] = (drops[reason] || 0) + 1; };
const performance = {timeOrigin: 0};
const setTimeout = (then, ms) => { timers.push(ms); setImmediate(then); };
%s
for (const number of [1, 2, 3]) tell({k: 'msg', number});
process.on('exit', () => process.stdout.write(JSON.stringify({calls, drops, timers})));
"""


def told(refused: int) -> dict[str, Any]:
    node, _ = compute_driver_executable()
    script = PAGE % (refused, LINE.read_text(encoding="utf-8"))
    ran = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_events_that_come_together_go_in_one_call() -> None:
    events = [{"k": "msg", "number": number} for number in (1, 2, 3)]
    assert told(refused=0) == {"calls": [events], "drops": {}, "timers": []}


@pytest.mark.parametrize("refused", [1, 4])
def test_a_call_that_nobody_takes_is_told_as_dropped_by_and_by(refused: int) -> None:
    page = told(refused)
    assert page["calls"] == [[{"k": "dropped", "n": 3}]]
    assert page["drops"] == {"not_taken": refused}
    assert page["timers"] == [1000] * refused
