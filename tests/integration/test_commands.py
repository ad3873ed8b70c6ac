"""Commands as processes, with the database they speak to."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from flowhq import masterkey
from flowhq.admin.cookies import digest
from flowhq.admin.identities import parse_token
from flowhq.admin.terminal import who
from flowhq.config import Config, DatabaseSettings
from flowhq.db import audit, tokens, users
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.installation import load_installation
from flowhq.db.migrate import migrate
from flowhq.db.pool import Database
from flowhq.db.sessions import save_qr
from flowhq.db.tenants import NewTenant, create_tenant
from flowhq.errors import ExitCode
from flowhq.model import TenantId
from flowhq.password import verify_password
from tests.pg import run_apart
from tests.vaults import MASTER_TEXT

# Several programs one after the other, some with a new database, on a busy machine.
pytestmark = pytest.mark.timeout(300)


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
    assert failed == ["FAIL  Chromium", "FAIL  database", "FAIL  master key"]
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


async def furnish(folder: Path, number: str) -> TenantId:
    """A tenant in the embedded database of this folder, with a sealed code."""
    async with EmbeddedPostgres(folder / "var/postgres") as server:
        url = server.dsn()
        await migrate(url)
        await load_installation(url)
        settings = Config(database=DatabaseSettings(data_dir=folder / "var/postgres"))
        async with Database(url, vault=await masterkey.open_vault(settings, url)) as database:
            row = await create_tenant(database, NewTenant("Duka", number, "Duka"))
            async with database.tenant(row.tenant_id) as tx:
                await save_qr(tx, row.tenant_id, "2@siri", "data:siri", None)
        return row.tenant_id


async def entered(folder: Path) -> list[tuple[str, str, TenantId | None, int | None]]:
    """What stands in the audit of this folder's database, the oldest first."""
    async with (
        EmbeddedPostgres(folder / "var/postgres") as server,
        Database(server.dsn(), min_size=1) as database,
    ):
        page = await audit.list_entries(database, audit.EntryFilter(), limit=50)
    assert {row.entry.method for row in page.rows} == {"CLI"}
    assert all(row.entry.principal.startswith("cli:") for row in page.rows)
    assert MASTER_TEXT.strip() not in str(page.rows)
    return [
        (row.entry.route, row.entry.principal, row.entry.tenant_id, row.status)
        for row in reversed(page.rows)
    ]


def test_a_tenant_is_carried_from_one_empty_handed_folder_to_another(tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    here.mkdir()
    there.mkdir()
    tenant_id = run_apart(furnish(here, "+255700000001"))
    file, key = tmp_path / "backup", tmp_path / "key"
    key.write_text(MASTER_TEXT)
    locked = ("--key-file", str(key))
    taken = daemon(here, "backup-tenant", str(tenant_id), "--to", str(file), *locked)
    assert taken.returncode == ExitCode.OK, taken.stderr
    assert f"{file}: {file.stat().st_size} bytes" in taken.stdout
    restored = daemon(there, "restore-tenant", str(file), *locked)
    assert restored.returncode == ExitCode.OK, restored.stderr
    assert f"Tenant {tenant_id} is back" in restored.stdout
    again = daemon(there, "restore-tenant", str(file), *locked)
    assert again.returncode == ExitCode.FAILURE
    assert "exists here already" in again.stderr
    stranger = str(uuid4())
    nobody = daemon(there, "backup-tenant", stranger, "--to", str(file) + "2", *locked)
    assert nobody.returncode == ExitCode.FAILURE
    assert "There is no tenant" in nobody.stderr
    me, unknown = who(), TenantId(UUID(stranger))
    assert run_apart(entered(here)) == [("back_up_tenant", me, tenant_id, 200)]
    assert run_apart(entered(there)) == [
        ("restore_tenant", me, tenant_id, 201),
        ("back_up_tenant", me, unknown, 404),
    ]
    for done in (taken, restored, again, nobody):
        assert "Traceback" not in done.stderr
        assert MASTER_TEXT.strip() not in done.stdout + done.stderr


def test_the_master_key_is_made_rotated_missed_and_given_up(tmp_path: Path) -> None:
    tenant_id = run_apart(furnish(tmp_path, "+255700000001"))
    key = tmp_path / "var/postgres/master.key"
    first = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    rotated = daemon(tmp_path, "rotate-key")
    assert rotated.returncode == ExitCode.OK, rotated.stderr
    assert "wrapped anew: 1" in rotated.stdout
    assert key.read_text() != first
    assert sorted(path.name for path in key.parent.glob("master*")) == ["master.key"]
    new = tmp_path / "elsewhere.key"
    moved = daemon(tmp_path, "rotate-key", "--to", str(new))
    assert moved.returncode == ExitCode.OK, moved.stderr
    assert "Set [secrets] master_key_file" in moved.stdout
    wrong = backup(tmp_path, tenant_id)
    assert wrong.returncode == ExitCode.CONFIG
    assert "not the one that this database is written with" in wrong.stderr
    key.unlink()
    missing = backup(tmp_path, tenant_id)
    assert missing.returncode == ExitCode.CONFIG
    assert f"{key} cannot be read" in missing.stderr
    assert not key.exists()
    right = backup(tmp_path, tenant_id, FLOWHQ_SECRETS__MASTER_KEY_FILE=str(new))
    assert right.returncode == ExitCode.OK, right.stderr
    lost = daemon(tmp_path, "rotate-key", "--lost")
    assert lost.returncode == ExitCode.OK, lost.stderr
    (tmp_path / "one").unlink()
    assert backup(tmp_path, tenant_id).returncode == ExitCode.OK
    assert [(route, status) for route, _, _, status in run_apart(entered(tmp_path))] == [
        ("rotate_key", 200),
        ("rotate_key", 200),
        ("back_up_tenant", 200),
        ("rotate_key", 200),
        ("back_up_tenant", 200),
    ]
    secrets = [first.strip(), key.read_text().strip(), new.read_text().strip()]
    for done in (rotated, moved, wrong, missing, right, lost):
        assert "Traceback" not in done.stderr
        assert not any(secret in done.stdout + done.stderr for secret in secrets)


def backup(folder: Path, tenant_id: TenantId, **settings: str) -> subprocess.CompletedProcess[str]:
    key = folder / "backup.key"
    key.write_text(MASTER_TEXT)
    target = ("--to", str(folder / "one"))
    return daemon(
        folder, "backup-tenant", str(tenant_id), *target, "--key-file", str(key), **settings
    )
