"""The command line: every expected failure is a sentence, a next step and an exit code."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from flowhq import cli
from flowhq.errors import ExitCode, InvalidInputError

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings from the machine: an empty folder and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLOWHQ_CONFIG", "FLOWHQ_ADMIN__PASSWORD_HASH"):
        monkeypatch.delenv(name, raising=False)


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    # As Python opens it in the locale C, where bytes that are no text get through.
    stream = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", stream)


@pytest.mark.parametrize("command", [[], ["run"], ["check-config"]])
def test_without_an_admin_password_nothing_starts(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(command) == 78
    message = capsys.readouterr().err
    assert "No admin password is set" in message
    assert "flowhq-daemon hash-password" in message
    assert "FLOWHQ_ADMIN__PASSWORD_HASH" in message


def test_good_settings_are_said_to_be_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[admin]\npassword_hash = "{HASH}"\n')
    assert cli.execute(["check-config"]) == ExitCode.OK
    assert "config.toml" in capsys.readouterr().out


def test_every_mistake_of_the_settings_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.toml"
    file.write_text('[admin]\nprot = 1\n[web]\nurl = "http://x"\n')
    monkeypatch.setenv("FLOWHQ_CONFIG", str(file))
    assert cli.execute(["check-config"]) == ExitCode.CONFIG
    message = capsys.readouterr().err
    assert "2 mistakes in the settings" in message
    assert f"{file}: admin.prot: unknown setting: did you mean port?" in message
    assert f"{file}: web.url" in message
    assert "docs/configuration.md" in message


@pytest.mark.parametrize(
    "arguments",
    [["--config", "named.toml", "check-config"], ["check-config", "--config", "named.toml"]],
)
def test_the_file_may_be_named_before_or_after_the_command(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "named.toml").write_text(f'[admin]\npassword_hash = "{HASH}"\n')
    assert cli.execute(arguments) == ExitCode.OK
    assert "named.toml" in capsys.readouterr().out


def test_a_named_file_that_is_missing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["--config", "gone.toml"]) == ExitCode.CONFIG
    assert "gone.toml: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["dance"], ["--prot", "1"], ["run", "now"]])
def test_wrong_usage_has_its_own_exit_code(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.execute(arguments)
    assert raised.value.code == ExitCode.USAGE
    assert "usage: flowhq-daemon" in capsys.readouterr().err


def test_a_password_becomes_a_hash_that_verifies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, "nywila ndefu ö\r\nmore\n".encode())
    assert cli.execute(["hash-password"]) == ExitCode.OK
    printed = capsys.readouterr().out.strip()
    assert printed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PasswordHasher().verify(printed, "nywila ndefu ö")


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"1234567\n", b" " * 20 + b"\n", b"x" * 5000, b"\xff" * 20]
)
def test_a_weak_or_broken_password_is_refused(
    data: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in(monkeypatch, data)
    assert cli.execute(["hash-password"]) == InvalidInputError.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "password" in shown.err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["create-admin", "asha"], "password"),
        (["create-admin", "a b"], "user name"),
        (["create-admin", "ADMIN"], "stands in the settings"),
        (["create-token", "report", "--scope", "everything"], "tenants:read"),
        (["create-token", "report", "--scope", "portal"], "no scope portal"),
        (["create-token", "report", "--scope", "status:read", "--days", "0"], "1 to 3650 days"),
        (["create-token", " ", "--scope", "status:read"], "name"),
    ],
)
def test_what_cannot_be_a_user_or_a_token_is_refused_before_the_database_is_touched(
    command: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    type_in(monkeypatch, b"short\n" if command[1] == "asha" else b"nywila-ndefu-sana\n")
    assert cli.execute(command) == ExitCode.FAILURE
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.out == ""
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["create-admin", "asha", "the-password"],
        ["create-admin", "asha", "--password", "x"],
        ["create-admin", "asha", "--role", "owner"],
        ["create-token", "report"],
        ["create-token", "report", "--scope", "status:read", "--tenant", "7"],
    ],
)
def test_a_password_is_never_an_argument_and_a_token_has_scopes(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.execute(arguments)
    assert raised.value.code == ExitCode.USAGE


def test_an_interruption_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_read_secret", interrupted)
    assert cli.execute(["hash-password"]) == cli.INTERRUPTED


def test_the_program_prints_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flowhq", "--config", "gone.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.CONFIG
    assert done.stderr.startswith("flowhq-daemon: 1 mistake in the settings:\n")
    assert "Traceback" not in done.stderr
