"""Settings: the types, the bounds and the defaults of every one, as one frozen object.

What each setting means, its unit and what breaks when it is wrong stands in config.toml and
docs/configuration.md. How they are read, and how mistakes are told, stands in configfile.py.
"""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from flowhq.errors import MisconfiguredError

EMBEDDED = "embedded"
MASTER_KEY_NAME = "master.key"
ENV_PREFIX = "FLOWHQ_"


class Section(BaseModel):
    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )
    secret_keys: ClassVar[frozenset[str]] = frozenset()


class DatabaseSettings(Section):
    secret_keys = frozenset({"url"})

    url: SecretStr = SecretStr(EMBEDDED)
    data_dir: Path = Path("var/postgres")
    pool_min: int = Field(2, ge=1, le=100)
    pool_max: int = Field(10, ge=2, le=200)
    command_timeout_s: float = Field(5, gt=0, le=300)
    connect_timeout_s: float = Field(3, gt=0, le=60)

    @property
    def embedded(self) -> bool:
        """True if the daemon runs a PostgreSQL of its own in ``data_dir``."""
        return self.url.get_secret_value() == EMBEDDED

    @field_validator("url")
    @classmethod
    def _known_database(cls, url: SecretStr) -> SecretStr:
        value = url.get_secret_value()
        if value != EMBEDDED and urlsplit(value).scheme not in ("postgresql", "postgres"):
            raise ValueError(f'must be "{EMBEDDED}" or postgresql://user:password@host:port/name')
        return url

    @field_validator("pool_max")
    @classmethod
    def _pool_order(cls, value: int, info: ValidationInfo) -> int:
        _require_floor(value, info, "pool_min")
        return value


class AdminSettings(Section):
    secret_keys = frozenset({"password_hash"})

    port: int = Field(8787, ge=0, le=65535)
    password_hash: SecretStr = SecretStr("")
    tls_cert: str = ""
    tls_key: str = ""
    behind_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    # Below what it takes to leave loopback: a validator sees only the fields above its own.
    host: str = "127.0.0.1"
    requests_per_s: float = Field(50, gt=0, le=10_000)
    requests_burst: int = Field(200, ge=1, le=100_000)

    @field_validator("tls_cert", "tls_key")
    @classmethod
    def _whole_path(cls, path: str) -> str:
        if path and not Path(path).is_absolute():
            raise ValueError("must be the whole path of a PEM file, from / on")
        return path

    @field_validator("tls_key")
    @classmethod
    def _both_halves(cls, key: str, info: ValidationInfo) -> str:
        if bool(key) != bool(info.data.get("tls_cert")):
            raise ValueError("must be given together with tls_cert")
        return key

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                everybody = ipaddress.ip_network(value).prefixlen == 0
            except ValueError:
                raise ValueError("must be addresses or networks such as 10.0.0.0/8") from None
            if everybody:
                raise ValueError("must not be everybody: such headers can be made up")
        return values

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for value in values:
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.:-]*[a-z0-9])?", value):
                raise ValueError("must be host names in lower case, without scheme and port")
        if info.data.get("behind_proxy") and not (values and info.data.get("trusted_proxies")):
            raise ValueError("must be set, and trusted_proxies too, if behind_proxy is true")
        return values

    @field_validator("host")
    @classmethod
    def _guarded(cls, host: str, info: ValidationInfo) -> str:
        if not (is_loopback(host) or info.data.get("tls_key") or info.data.get("behind_proxy")):
            raise ValueError(
                "must be a loopback address such as 127.0.0.1, unless tls_cert and tls_key are set "
                "or a reverse proxy with TLS stands in front (behind_proxy)"
            )
        return host

    @field_validator("password_hash")
    @classmethod
    def _argon2id(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith("$argon2id$"):
            raise ValueError("must be what `flowhq-daemon hash-password` prints, not a password")
        return value


class PortalSettings(Section):
    secret_keys = frozenset({"client_secret"})

    public_url: str = ""
    issuer: str = "https://accounts.google.com"
    client_id: str = Field("", max_length=300)
    client_secret: SecretStr = SecretStr("")
    after_sign_in: str = Field("/portal/signed-in", min_length=1, max_length=300)

    @field_validator("public_url")
    @classmethod
    def _safe_address(cls, url: str) -> str:
        return _require_web_address(url).rstrip("/") if url else ""

    @field_validator("issuer")
    @classmethod
    def _safe_issuer(cls, url: str) -> str:
        return _require_web_address(url)

    @field_validator("after_sign_in")
    @classmethod
    def _own_path(cls, path: str) -> str:
        if not re.fullmatch(r"/(?!/)[\x21-\x5b\x5d-\x7e]*", path):
            raise ValueError("must be a path of this daemon, such as /portal/signed-in")
        return path


class WebSettings(Section):
    url: str = "https://web.whatsapp.com/"
    profiles_dir: Path = Path("var/profiles")
    chromium: str = ""
    user_agent: str = ""
    device_name: str = Field("Flow HQ", min_length=1, max_length=50)
    extra_args: tuple[str, ...] = ()
    launch_timeout_s: float = Field(60, ge=5, le=600)
    concurrent_starts: int = Field(2, ge=1, le=32)

    @field_validator("url")
    @classmethod
    def _safe_address(cls, url: str) -> str:
        return url if urlsplit(_require_web_address(url)).path else f"{url}/"

    @field_validator("user_agent")
    @classmethod
    def _not_headless(cls, value: str) -> str:
        if "headless" in value.lower():
            raise ValueError("must not say Headless: WhatsApp Web refuses such a browser")
        return value

    @field_validator("extra_args")
    @classmethod
    def _harmless(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not value.startswith("--"):
                raise ValueError("must be arguments that start with --")
            if value.startswith(("--remote-debugging", "--user-data-dir")):
                raise ValueError("must not open a debugging port or move the profile")
        return values


class LimitSettings(Section):
    replies_per_minute: int = Field(10, ge=1, le=6000)
    contact_replies: int = Field(20, ge=1, le=6000)
    contact_window_s: float = Field(600, ge=1, le=86400)
    chat_queue: int = Field(50, ge=1, le=10000)
    dedup_entries: int = Field(1000, ge=1, le=1_000_000)
    dedup_ttl_s: float = Field(300, ge=1, le=86400)
    catchup_max_age_s: float = Field(43200, ge=0, le=604800)
    answer_max_age_s: float = Field(43200, ge=60, le=604800)
    send_timeout_s: float = Field(30, ge=1, le=300)
    pace_ms: int = Field(250, ge=0, le=60000)
    person_pause_s: float = Field(43200, ge=0, le=2_592_000)
    loop_replies_per_minute: int = Field(6, ge=0, le=200)
    loop_mute_s: float = Field(3600, ge=1, le=604800)
    memory_events_per_tenant: int = Field(500, ge=1, le=100_000)
    memory_events_total: int = Field(20000, ge=1, le=1_000_000)

    @field_validator("memory_events_total")
    @classmethod
    def _memory_order(cls, value: int, info: ValidationInfo) -> int:
        _require_floor(value, info, "memory_events_per_tenant")
        return value


class SupervisorSettings(Section):
    heartbeat_s: float = Field(30, ge=1, le=600)
    stale_s: float = Field(120, ge=2, le=3600)
    stale_check_s: float = Field(60, ge=1, le=600)
    probe_s: float = Field(15, ge=1, le=600)
    probe_timeout_s: float = Field(10, gt=0, le=60)
    probe_misses: int = Field(3, ge=1, le=20)
    backoff_min_s: float = Field(2, gt=0, le=600)
    backoff_max_s: float = Field(300, gt=0, le=3600)
    stagger_s: float = Field(2, ge=0, le=60)
    stop_grace_s: float = Field(20, ge=1, le=300)
    restarts_window_s: float = Field(1800, ge=60, le=86400)
    restarts_max: int = Field(10, ge=1, le=1000)
    healthy_reset_s: float = Field(600, ge=1, le=86400)
    parked_probe_s: float = Field(3600, ge=60, le=604800)

    @field_validator("stale_s")
    @classmethod
    def _stale_order(cls, value: float, info: ValidationInfo) -> float:
        _require_floor(value, info, "heartbeat_s", factor=2)
        return value

    @field_validator("backoff_max_s")
    @classmethod
    def _backoff_order(cls, value: float, info: ValidationInfo) -> float:
        _require_floor(value, info, "backoff_min_s")
        return value


class SecretSettings(Section):
    master_key_file: Path | None = None


class BackupSettings(Section):
    directory: Path = Path("var/backups")
    key_file: Path | None = None


class LoggingSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    directory: Path = Path("logs")
    tenant_file_bytes: int = Field(5_000_000, ge=10_000, le=1_000_000_000)
    tenant_files_kept: int = Field(3, ge=1, le=100)
    tenant_files_open: int = Field(64, ge=1, le=4096)


class RetentionSettings(Section):
    text_days: int = Field(90, ge=1, le=3650)
    metadata_days: int = Field(400, ge=30, le=3650)
    payload_days: int = Field(7, ge=1, le=3650)
    audit_days: int = Field(400, ge=30, le=3650)
    hour_utc: int = Field(1, ge=0, le=23)
    archive_dir: str = ""

    @property
    def archive(self) -> Path | None:
        """Where old days are written before they are dropped; None: nowhere."""
        return Path(self.archive_dir) if self.archive_dir else None

    @field_validator("metadata_days")
    @classmethod
    def _metadata_order(cls, value: int, info: ValidationInfo) -> int:
        _require_floor(value, info, "text_days")
        return value

    @field_validator("archive_dir")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value and not Path(value).is_absolute():
            raise ValueError("must be an absolute path")
        return value


class MetricsSettings(Section):
    per_tenant: bool = True
    browsers_every_s: float = Field(15, ge=1, le=3600)


class EgressSettings(Section):
    allow_networks: tuple[str, ...] = ()
    allow_http: bool = False

    @field_validator("allow_networks")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                ipaddress.ip_network(value)
            except ValueError:
                raise ValueError(
                    "must be networks such as 10.1.0.0/16 or fd00:1::/32, host bits zero"
                ) from None
        return values


class EventSettings(Section):
    keep_days: int = Field(7, ge=2, le=90)
    streams: int = Field(100, ge=1, le=1000)
    deliveries_at_once: int = Field(32, ge=1, le=256)


class Config(BaseModel):
    """Every setting, checked; ``file`` is where it came from, None without one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    file: Path | None = None
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    portal: PortalSettings = Field(default_factory=PortalSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    supervisor: SupervisorSettings = Field(default_factory=SupervisorSettings)
    secrets: SecretSettings = Field(default_factory=SecretSettings)
    backup: BackupSettings = Field(default_factory=BackupSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    egress: EgressSettings = Field(default_factory=EgressSettings)
    events: EventSettings = Field(default_factory=EventSettings)


SECTIONS: Mapping[str, type[Section]] = MappingProxyType(
    {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
)


def master_key_file(config: Config) -> Path:
    """The configured file, else the one beside the embedded database; MisconfiguredError if there
    is neither: the key of a database elsewhere is not made up by whoever starts first."""
    if config.secrets.master_key_file is not None:
        return config.secrets.master_key_file
    if config.database.embedded:
        return config.database.data_dir / MASTER_KEY_NAME
    raise MisconfiguredError(
        "No master key is set, and a database by url keeps secrets sealed with one.",
        next_step="Make one (openssl rand -base64 32, mode 0600), keep a copy elsewhere, and set "
        f"[secrets] master_key_file, or {env_name('secrets', 'master_key_file')}, to its file.",
    )


def env_name(section: str, key: str) -> str:
    """The variable that overrides a setting, such as FLOWHQ_ADMIN__PORT."""
    return f"{ENV_PREFIX}{section.upper()}__{key.upper()}"


def is_loopback(host: str) -> bool:
    """True for localhost and for addresses that never leave the machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_floor(value: float, info: ValidationInfo, other: str, *, factor: float = 1) -> None:
    """Refuses a value below ``factor`` times another setting of its section."""
    floor = info.data.get(other)
    if floor is not None and value < floor * factor:
        times = f"{factor:g} times " if factor != 1 else ""
        raise ValueError(f"must be at least {times}{other}, which is {floor:g} (this is {value:g})")


def _require_web_address(url: str) -> str:
    """Refuses what is neither https nor http on this machine, and credentials in an address."""
    parts = urlsplit(url)
    allowed = parts.scheme == "https" or (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    )
    if not allowed or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be an https address (http only for a loopback host)")
    return url
