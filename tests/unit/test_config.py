"""Settings: what is accepted, what is refused, and that every mistake is named with its place."""

from pathlib import Path

import pytest

from flowhq import configfile
from flowhq.config import Config, master_key_file
from flowhq.errors import ConfigError, ExitCode, MisconfiguredError

ARGON2 = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA"


def problems(path: Path | None, environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        configfile.load(path, environ)
    assert raised.value.exit_code == ExitCode.CONFIG
    return [str(problem) for problem in raised.value.problems]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_file_and_environment_the_defaults_hold() -> None:
    settings = configfile.load(None, {"PATH": "/bin", "flowhq_admin__port": "1"})
    assert settings.file is None
    assert settings.database.embedded
    assert settings.admin.port == 8787
    assert settings.limits.replies_per_minute == 10
    assert settings.database.data_dir == Path.cwd() / "var/postgres"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[admin]\nport = 1000\nhost = "127.0.0.2"\n')
    settings = configfile.load(path, {"FLOWHQ_ADMIN__PORT": "2000"})
    assert (settings.admin.port, settings.admin.host) == (2000, "127.0.0.2")
    assert settings.file == path


def test_every_type_can_be_written_in_the_environment(tmp_path: Path) -> None:
    settings = configfile.load(
        None,
        {
            "FLOWHQ_LIMITS__PACE_MS": "0",
            "FLOWHQ_SUPERVISOR__PROBE_S": "1.5",
            "FLOWHQ_WEB__EXTRA_ARGS": "--lang=sw '--host-rules=MAP a b, MAP c d'",
            "FLOWHQ_ADMIN__PORT": "0",
            "FLOWHQ_METRICS__PER_TENANT": "false",
            "FLOWHQ_LOGGING__FORMAT": "json",
            "FLOWHQ_LOGGING__DIRECTORY": str(tmp_path),
        },
    )
    assert settings.limits.pace_ms == 0
    assert settings.supervisor.probe_s == 1.5
    assert settings.metrics.per_tenant is False
    assert settings.web.extra_args == ("--lang=sw", "--host-rules=MAP a b, MAP c d")
    assert settings.admin.port == 0
    assert settings.logging.format == "json"
    assert settings.logging.directory == tmp_path


@pytest.mark.parametrize(
    "guarded",
    [
        {"TLS_CERT": "/etc/flowhq/cert.pem", "TLS_KEY": "/etc/flowhq/key.pem"},
        {
            "BEHIND_PROXY": "true",
            "TRUSTED_PROXIES": "10.0.0.0/8 ::1",
            "ALLOWED_HOSTS": "flow.example.com",
        },
    ],
)
def test_the_api_leaves_loopback_with_tls_or_behind_a_proxy_alone(guarded: dict[str, str]) -> None:
    environ = {f"FLOWHQ_ADMIN__{key}": value for key, value in guarded.items()}
    environ["FLOWHQ_ADMIN__HOST"] = "0.0.0.0"  # noqa: S104
    assert configfile.load(None, environ).admin.host == "0.0.0.0"  # noqa: S104
    for key in guarded:
        rest = {name: value for name, value in environ.items() if not name.endswith(key)}
        with pytest.raises(ConfigError):
            configfile.load(None, rest)


def test_relative_paths_count_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = written(tmp_path, '[web]\nprofiles_dir = "profiles"\n')
    monkeypatch.chdir(elsewhere)
    settings = configfile.load(path, {"FLOWHQ_DATABASE__DATA_DIR": "data"})
    assert settings.web.profiles_dir == tmp_path / "profiles"
    assert settings.database.data_dir == elsewhere / "data"
    assert settings.logging.directory == tmp_path / "logs"


def test_a_path_that_may_be_missing_is_none_or_counts_from_the_file(tmp_path: Path) -> None:
    assert configfile.load(None, {}).secrets.master_key_file is None
    path = written(tmp_path, '[secrets]\nmaster_key_file = "keys/master"\n')
    assert configfile.load(path, {}).secrets.master_key_file == tmp_path / "keys/master"
    empty = {"FLOWHQ_SECRETS__MASTER_KEY_FILE": ""}
    assert configfile.load(path, empty).secrets.master_key_file is None
    by_name = {"FLOWHQ_SECRETS__MASTER_KEY_FILE": "/run/key"}
    assert configfile.load(path, by_name).secrets.master_key_file == Path("/run/key")
    (found,) = problems(written(tmp_path, "[secrets]\nmaster_key_file = 7\n"), {})
    assert "secrets.master_key_file: must be a path" in found


def test_a_database_by_url_needs_a_master_key_that_is_set(tmp_path: Path) -> None:
    settings = configfile.load(None, {})
    assert master_key_file(settings) == settings.database.data_dir / "master.key"
    url = {"FLOWHQ_DATABASE__URL": "postgresql://u:hunter2@db/x"}
    with pytest.raises(MisconfiguredError, match="No master key is set") as refused:
        master_key_file(configfile.load(None, url))
    assert "hunter2" not in str(refused.value)
    key = {"FLOWHQ_SECRETS__MASTER_KEY_FILE": "/run/key"}
    assert master_key_file(configfile.load(None, url | key)) == Path("/run/key")


def test_all_mistakes_are_reported_at_once_each_with_its_place(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[databse]\nurl = "embedded"\n'
        '[admin]\nport = "8787"\nprot = 1\n'
        '[logging]\nformat = "xml"\n'
        "[limits]\npace_ms = true\n",
    )
    found = problems(path, {"FLOWHQ_ADMIN__PROT": "1", "FLOWHQ_LIMITS__CHAT_QUEUE": "many"})
    assert found == [
        f"{path}: databse: unknown section: did you mean database?",
        "FLOWHQ_ADMIN__PROT: no such setting: did you mean FLOWHQ_ADMIN__PORT?",
        "FLOWHQ_LIMITS__CHAT_QUEUE: limits.chat_queue: must be a valid integer, "
        "unable to parse string as an integer.",
        f"{path}: admin.prot: unknown setting: did you mean port?",
        f"{path}: admin.port: must be a valid integer.",
        f"{path}: limits.pace_ms: must be a valid integer.",
        f"{path}: logging.format: must be 'auto', 'json' or 'console'.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[admin", "is not TOML"),
        ("admin = 1\n", "admin: must be a section: [admin]."),
        ("[[admin]]\nport = 1\n", "admin: must be a section: [admin]."),
        ("x = 1\n", "x: unknown section."),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(written(tmp_path, text), {})
    assert expected in found


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.toml", {}) == [
        f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory."
    ]
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert problems(binary, {}) == [f"{binary}: is not UTF-8 text."]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FLOWHQ_ADMIN__HOST", "0.0.0.0", "reverse proxy"),  # noqa: S104
        ("FLOWHQ_ADMIN__HOST", "example.com", "reverse proxy"),
        ("FLOWHQ_ADMIN__PORT", "70000", "less than or equal to 65535"),
        ("FLOWHQ_ADMIN__PASSWORD_HASH", "hunter2hunter2", "hash-password"),
        ("FLOWHQ_ADMIN__TRUSTED_PROXIES", "10.0.0.1/8", "networks"),
        ("FLOWHQ_ADMIN__TRUSTED_PROXIES", "proxy.example.com", "networks"),
        ("FLOWHQ_ADMIN__TRUSTED_PROXIES", "0.0.0.0/0", "everybody"),
        ("FLOWHQ_ADMIN__TRUSTED_PROXIES", "[1", "JSON list"),
        ("FLOWHQ_ADMIN__TRUSTED_PROXIES", "[1]", "valid string"),
        ("FLOWHQ_ADMIN__ALLOWED_HOSTS", "https://flow.example.com", "without scheme"),
        ("FLOWHQ_ADMIN__ALLOWED_HOSTS", "*.example.com", "host names"),
        ("FLOWHQ_ADMIN__BEHIND_PROXY", "true", "trusted_proxies"),
        ("FLOWHQ_ADMIN__BEHIND_PROXY", "perhaps", "valid boolean"),
        ("FLOWHQ_ADMIN__TLS_CERT", "cert.pem", "whole path"),
        ("FLOWHQ_ADMIN__TLS_CERT", "/cert.pem", "together with"),
        ("FLOWHQ_ADMIN__TLS_KEY", "/key.pem", "together with"),
        ("FLOWHQ_ADMIN__REQUESTS_PER_S", "0", "greater than 0"),
        ("FLOWHQ_DATABASE__URL", "mysql://root:hunter2@db/x", "postgresql://user"),
        ("FLOWHQ_DATABASE__POOL_MAX", "1", "greater than or equal to 2"),
        ("FLOWHQ_WEB__URL", "http://web.whatsapp.com/", "https"),
        ("FLOWHQ_WEB__URL", "https://u:hunter2@web.whatsapp.com/", "https"),
        ("FLOWHQ_WEB__URL", "ftp://localhost/", "https"),
        ("FLOWHQ_WEB__USER_AGENT", "HeadlessChrome/1", "Headless"),
        ("FLOWHQ_WEB__EXTRA_ARGS", "--remote-debugging-port=9222", "debugging port"),
        ("FLOWHQ_WEB__EXTRA_ARGS", "lang=sw", "start with --"),
        ("FLOWHQ_WEB__PROFILES_DIR", " ", "must be a path"),
        ("FLOWHQ_SUPERVISOR__STALE_S", "59", "at least 2 times heartbeat_s"),
        ("FLOWHQ_SUPERVISOR__PROBE_S", "nan", "finite"),
        ("FLOWHQ_SUPERVISOR__BACKOFF_MIN_S", "301", "at least backoff_min_s"),
        ("FLOWHQ_LIMITS__MEMORY_EVENTS_TOTAL", "10", "at least memory_events_per_tenant"),
        ("FLOWHQ_LOGGING__LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_an_impossible_value_is_refused_without_being_repeated(
    name: str, value: str, expected: str
) -> None:
    (found,) = problems(None, {name: value})
    assert found.startswith(name)
    assert expected in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    "url",
    ["https://web.whatsapp.com/", "http://127.0.0.1:8790/", "http://localhost:1/", "http://[::1]/"],
)
def test_a_page_may_be_https_or_on_this_machine(url: str) -> None:
    assert configfile.load(None, {"FLOWHQ_WEB__URL": url}).web.url == url


def test_a_page_without_a_path_gets_one() -> None:
    assert configfile.load(None, {"FLOWHQ_WEB__URL": "http://127.0.0.1:1"}).web.url.endswith(":1/")


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hash"
    file.write_text(f"{ARGON2}\n")
    settings = configfile.load(None, {"FLOWHQ_ADMIN__PASSWORD_HASH_FILE": str(file)})
    assert settings.admin.password_hash.get_secret_value() == ARGON2


def test_a_secret_may_not_come_twice_or_from_nowhere(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert problems(None, {"FLOWHQ_DATABASE__URL_FILE": gone}) == [
        "FLOWHQ_DATABASE__URL_FILE: database.url: the file cannot be read: "
        "No such file or directory."
    ]
    twice = {"FLOWHQ_DATABASE__URL_FILE": gone, "FLOWHQ_DATABASE__URL": "embedded"}
    assert problems(None, twice) == [
        "FLOWHQ_DATABASE__URL_FILE: database.url: set by value and by file: keep one."
    ]


def test_only_secrets_have_a_file_variant() -> None:
    (found,) = problems(None, {"FLOWHQ_ADMIN__PORT_FILE": "/x"})
    assert found == "FLOWHQ_ADMIN__PORT_FILE: no such setting: did you mean FLOWHQ_ADMIN__PORT?"


def test_names_for_the_program_and_its_tests_are_no_settings() -> None:
    environ = {"FLOWHQ_CONFIG": "x.toml", "FLOWHQ_TEST_DATABASE_URL": "x"}
    assert configfile.load(None, environ) == configfile.load(None, {})


def test_secrets_stay_out_of_every_representation() -> None:
    settings = configfile.load(
        None,
        {
            "FLOWHQ_ADMIN__PASSWORD_HASH": ARGON2,
            "FLOWHQ_DATABASE__URL": "postgresql://u:hunter2@db/x",
        },
    )
    shown = f"{settings!r} {settings} {settings.model_dump()['database']}"
    assert "hunter2" not in shown
    assert ARGON2 not in shown
    assert not settings.database.embedded


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = Config()
    with pytest.raises(ValueError, match="frozen"):
        settings.admin.port = 1  # type: ignore[misc]


def test_a_home_folder_is_expanded(tmp_path: Path) -> None:
    settings = configfile.load(written(tmp_path, '[web]\nprofiles_dir = "~/x"\n'), {})
    assert settings.web.profiles_dir == Path.home() / "x"
