"""What can be changed while it runs. All guesses about the real page's habits are here."""

import dataclasses

from flowhq.simulator.fields import Fields

SEND_OK = "ok"
SEND_HOLD = "hold"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Defaults are the simulator's; docs/simulator.md explains every one."""

    qr_ttl: float = 20.0
    qr_max: int = 6
    send: str = SEND_OK
    sync_delay_ms: int = 1200
    module_delay_ms: int = 0
    refuse_headless: bool = False
    minified_key: bool = False
    reload_after_pair: bool = False
    csp: bool = True
    drop_modules: tuple[str, ...] = ()
    dedup_sends: bool = True
    ack_sends: bool = True
    auto_receipts: int = 0
    history_sync: int = 0
    ping_s: float = 10.0

    def as_json(self) -> dict[str, object]:
        values = dataclasses.asdict(self)
        values["drop_modules"] = list(self.drop_modules)
        return values

    def for_page(self) -> dict[str, object]:
        """The part that a page is told in the `config` frame."""
        return {
            "sync_delay_ms": self.sync_delay_ms,
            "reload_after_pair": self.reload_after_pair,
        }

    def for_html(self) -> dict[str, object]:
        """The part that is rendered into the page."""
        return {
            **self.for_page(),
            "module_delay_ms": self.module_delay_ms,
            "refuse_headless": self.refuse_headless,
            "minified_key": self.minified_key,
            "drop_modules": list(self.drop_modules),
            "csp": self.csp,
        }


def read_changes(fields: Fields) -> dict[str, object]:
    """The settings named in a call, checked; FieldError for a wrong one, and nothing is changed."""
    modules = fields.texts("drop_modules", 500)
    changes = {
        "qr_ttl": fields.number("qr_ttl", 0.05, 86_400),
        "qr_max": fields.whole("qr_max", 1, 1_000_000),
        "send": fields.text("send", pattern=r"ok|hold|[A-Z][A-Z0-9_]{1,63}"),
        "sync_delay_ms": fields.whole("sync_delay_ms", 0, 600_000),
        "module_delay_ms": fields.whole("module_delay_ms", 0, 600_000),
        "refuse_headless": fields.flag("refuse_headless"),
        "minified_key": fields.flag("minified_key"),
        "reload_after_pair": fields.flag("reload_after_pair"),
        "csp": fields.flag("csp"),
        "drop_modules": None if modules is None else tuple(modules),
        "dedup_sends": fields.flag("dedup_sends"),
        "ack_sends": fields.flag("ack_sends"),
        "auto_receipts": fields.whole("auto_receipts", 0, 3),
        "history_sync": fields.whole("history_sync", 0, 1000),
        "ping_s": fields.number("ping_s", 0.05, 3600),
    }
    fields.finish()
    return {name: value for name, value in changes.items() if value is not None}
