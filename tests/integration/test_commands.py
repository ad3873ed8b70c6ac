"""Commands as processes, with the database they speak to."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from flowhq.admin.cookies import digest
from flowhq.admin.identities import parse_token
from flowhq.db import audit, tokens, users
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.pool import Database
from flowhq.errors import ExitCode
from flowhq.password import verify_password


def daemon(
    folder: Path, *arguments: str, typed: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs one command in an empty folder, with these settings alone."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLOWHQ_")}
    return subprocess.run(
        [sys.executable, "-m", "flowhq", *arguments],
        cwd=folder,
        env=environ | settings,
        input=typed,
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


async def test_users_and_tokens_are_made_whether_the_daemon_runs_or_not(tmp_path: Path) -> None:
    made = daemon(tmp_path, "create-admin", "Asha@Duka.example", typed="nywila-ndefu-sana\n")
    assert made.returncode == ExitCode.OK, made.stderr
    assert "asha@duka.example" in made.stdout
    assert not (tmp_path / "var/postgres/data/postmaster.pid").exists()
    async with EmbeddedPostgres(tmp_path / "var/postgres") as server:
        command = ("create-token", "report", "--scope", "status:read", "--days", "7")
        made = await asyncio.to_thread(daemon, tmp_path, *command)
        assert made.returncode == ExitCode.OK, made.stderr
        parts = parse_token(made.stdout.strip())
        assert parts is not None
        again = ("create-admin", "ASHA@duka.example", "--role", "viewer")
        refused = await asyncio.to_thread(daemon, tmp_path, *again, typed="nywila-ndefu-sana\n")
        assert (refused.returncode, refused.stdout) == (ExitCode.FAILURE, "")
        assert "name is taken" in refused.stderr
        async with Database(server.dsn(), min_size=1) as database:
            user = await users.find_user(database, "asha@duka.example")
            token = await tokens.find_token(database, parts.token_id)
            entries = (await audit.list_entries(database, audit.EntryFilter(), limit=9)).rows
    assert user is not None
    assert (user.role, user.created_by[:4]) == ("admin", "cli:")
    assert verify_password(user.password_hash, b"nywila-ndefu-sana")
    assert token is not None
    assert (list(token.scopes), token.tenants) == (["status:read"], None)
    assert token.secret_sha256 == digest(parts.secret)
    assert [row.entry.route for row in entries] == ["create_token", "create_user"]
    assert parts.secret not in str(entries)
