"""The unit file holds what the daemon needs, walls off the rest, and names only what exists."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from flowhq import config, configfile
from flowhq.errors import ExitCode

UNIT = Path(__file__).parents[2] / "deploy/flowhq.service"
EXPOSURE_MAX = 2.1
# What the figure rests on, checked where systemd's own judge is not at hand.
WALLS = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "KeyringMode": "private",
    "LockPersonality": "yes",
    "RemoveIPC": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "User": "flowhq",
}


def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, is_directive, value = line.partition("=")
        if is_directive and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def value(name: str) -> str:
    return " ".join(directives()[name])


def judged() -> float | None:
    """The exposure that systemd finds; None without its command, or with one that is too old."""
    command = shutil.which("systemd-analyze")
    if command is None:
        return None
    asked = subprocess.run(
        [command, "security", "--offline=true", "--no-pager", UNIT], capture_output=True, text=True
    )
    found = re.search(r"Overall exposure level for flowhq\.service: (\d+\.\d+)", asked.stdout)
    return float(found[1]) if found else None


def test_the_service_is_walled_off(record_property: Callable[[str, object], None]) -> None:
    exposure = judged()
    record_property("judge", "directives" if exposure is None else "systemd-analyze")
    assert exposure is None or exposure <= EXPOSURE_MAX
    for name, wanted in WALLS.items():
        assert value(name) == wanted, name


def test_the_browsers_own_sandbox_still_works() -> None:
    assert set(value("RestrictNamespaces").split()) == {"user", "pid", "net"}
    allowed = set(value("SystemCallFilter").split())
    assert {"@system-service", "chroot", "seccomp", "pkey_alloc", "landlock_create_ruleset"} == (
        allowed
    )
    assert value("ProcSubset") == "all"
    assert not {"MemoryDenyWriteExecute", "PrivateUsers"} & set(directives())
    assert "AF_NETLINK" in value("RestrictAddressFamilies")


def test_systemd_hears_of_the_daemon_and_gives_it_time_to_stop() -> None:
    assert (value("Type"), value("NotifyAccess")) == ("notify", "main")
    assert (value("KillMode"), value("WatchdogSec")) == ("mixed", "30")
    longest_s = config.SupervisorSettings().stop_grace_s + 25 + 8
    assert longest_s < float(value("TimeoutStopSec"))


def test_what_cannot_get_better_is_not_tried_again() -> None:
    assert value("RestartPreventExitStatus").split() == ["2", str(int(ExitCode.CONFIG))]


def test_its_variables_are_settings_and_its_secrets_come_from_files() -> None:
    variables = dict(line.split("=", 1) for line in directives()["Environment"])
    del variables["HOME"]
    assert set(variables) <= set(configfile.env_names())
    secrets = {name: path for name, path in variables.items() if name.endswith("_FILE")}
    loaded = {one.partition(":")[0] for one in directives()["LoadCredential"]}
    assert {path.removeprefix("%d/") for path in secrets.values()} == loaded
    sections = config.SECTIONS.items()
    secret = {config.env_name(name, key) for name, one in sections for key in one.secret_keys}
    assert not secret & set(variables)


def test_everything_is_written_where_the_service_may_write() -> None:
    for name in ("DATABASE__DATA_DIR", "WEB__PROFILES_DIR", "LOGGING__DIRECTORY"):
        [path] = [line for line in directives()["Environment"] if f"FLOWHQ_{name}=" in line]
        assert path.partition("=")[2].startswith(("%S/flowhq", "%L/flowhq"))
    assert (value("StateDirectory"), value("LogsDirectory")) == ("flowhq", "flowhq")
    assert (value("StateDirectoryMode"), value("LogsDirectoryMode")) == ("0700", "0700")
