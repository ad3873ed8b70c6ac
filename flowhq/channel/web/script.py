"""The one script that runs in each document: wa-js, checked and unmodified, and our own part."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from flowhq.channel.web.settings import WebSettings
from flowhq.errors import MisconfiguredError

HERE = Path(__file__).parent
VENDOR = HERE / "vendor"
BUNDLE = "wppconnect-wa.js"
MANIFEST = "manifest.json"
PARTS = ("messages.js", "line.js", "hooks.js", "calls.js")


@dataclass(frozen=True, slots=True)
class PageScript:
    """The script with the two names under which page and Python reach each other: new ones for
    each start, so that nothing in the page can know them."""

    source: str
    binding: str
    handle: str


def load_bundle(vendor: Path = VENDOR) -> str:
    """wa-js as the build put it here; MisconfiguredError unless its sha256 is the manifest's."""
    try:
        wanted = json.loads((vendor / MANIFEST).read_bytes())["files"][BUNDLE]
        found = (vendor / BUNDLE).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MisconfiguredError(
            f"wa-js is missing from this installation ({type(error).__name__} in {vendor}).",
            next_step="Install Flow HQ again: pip install --force-reinstall --no-deps <package>",
        ) from error
    if hashlib.sha256(found).hexdigest() != wanted:
        raise MisconfiguredError(
            f"{vendor / BUNDLE} is not the file that was built in: its sha256 differs.",
            next_step="Install Flow HQ again: pip install --force-reinstall --no-deps <package>",
        )
    return found.decode()


def build(settings: WebSettings, bundle: str) -> PageScript:
    """One function scope: guard, wa-js's settings, wa-js, our part. Only in the page itself: the
    top frame on the right host, and with the binding there."""
    binding, handle = f"_{secrets.token_hex(8)}", f"_{secrets.token_hex(8)}"
    # A browser writes an IPv6 address in brackets.
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    names = {"binding": binding, "handle": handle, "host": host}
    # Without these wa-js reports usage to an analytics service and asks third parties for previews.
    config = {
        "deviceName": settings.device_name,
        "disableGoogleAnalytics": True,
        "googleAnalyticsId": None,
        "linkPreviewApiServers": [],
        "poweredBy": None,
        "syncAllStatus": False,
    }
    source = "\n".join(
        [
            "(() => {",
            f"const SETTINGS = {json.dumps(names)};",
            "if (window.top !== window || location.hostname !== SETTINGS.host",
            "  || typeof window[SETTINGS.binding] !== 'function') return;",
            f"window.WPPConfig = {json.dumps(config)};",
            bundle,
            *((HERE / "inject" / part).read_text() for part in PARTS),
            "})();",
        ]
    )
    return PageScript(source, binding, handle)
