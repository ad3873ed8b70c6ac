"""Commands as processes, with the database they speak to."""

import os
import subprocess
import sys
from pathlib import Path

from flowhq.errors import ExitCode


def daemon(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs one command in an empty folder, with these settings alone."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOWHQ_")}
    return subprocess.run(
        [sys.executable, "-m", "flowhq", *arguments],
        cwd=folder,
        env=environ | settings,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_migrate_makes_the_embedded_database_once(tmp_path: Path) -> None:
    first = daemon(tmp_path, "migrate")
    assert first.returncode == ExitCode.OK, first.stderr
    assert "applied now: 1" in first.stdout
    again = daemon(tmp_path, "migrate")
    assert again.returncode == ExitCode.OK, again.stderr
    assert "applied now: nothing" in again.stdout
    assert not (tmp_path / "var/postgres/data/postmaster.pid").exists()


def test_a_database_that_is_away_is_a_sentence_and_its_own_exit_code(tmp_path: Path) -> None:
    url = "postgresql://somebody:hunter2@127.0.0.1:1/none"
    done = daemon(tmp_path, "migrate", FLOWHQ_DATABASE__URL=url)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "PostgreSQL cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_the_doctor_says_every_failure_and_fails(tmp_path: Path) -> None:
    done = daemon(
        tmp_path,
        "doctor",
        FLOWHQ_DATABASE__URL="postgresql://somebody@127.0.0.1:1/none",
        FLOWHQ_WEB__CHROMIUM="/nowhere/chromium",
    )
    assert done.returncode == ExitCode.FAILURE
    failed = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["FAIL  Chromium", "FAIL  database"]
    assert "Traceback" not in done.stderr
