"""What must be in place before the first tenant's browser."""

from pathlib import Path

import pytest

from flowhq.channel.web.host import BrowserHost
from flowhq.clock import SystemClock
from flowhq.errors import MisconfiguredError
from tests.browser.web_tenant import settings_for


async def test_a_profiles_folder_that_cannot_be_made_is_told_with_the_next_step(
    tmp_path: Path,
) -> None:
    in_the_way = tmp_path / "profiles"
    in_the_way.touch()
    host = BrowserHost(settings_for("http://127.0.0.1:9/", in_the_way), SystemClock())
    with pytest.raises(MisconfiguredError, match="cannot be written") as refused:
        await host.open()
    assert "profiles_dir" in refused.value.next_step
