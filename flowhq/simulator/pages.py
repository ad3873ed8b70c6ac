"""Serves the simulated WhatsApp Web page and the phone page."""

import secrets
from pathlib import Path

import orjson
from aiohttp import web

from flowhq.simulator.settings import Settings
from flowhq.simulator.sockets import WORLD

_HERE = Path(__file__).parent
PAGE_DIR = _HERE / "page"
PHONE_DIR = _HERE / "phone"

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
_TOO_OLD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>WhatsApp Web</title>
<body><div class="landing-title version-title">WhatsApp works with Google Chrome 85+</div>
<p>To use WhatsApp, update Chrome or use another browser.</p></body></html>
"""


def _policy(nonce: str) -> str:
    """What the page may load. Like the real page: no script without the nonce or our origin."""
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "connect-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


_PHONE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _in_script(settings: Settings) -> str:
    """JSON that cannot end the script element around it."""
    text = orjson.dumps(settings.for_html()).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


async def whatsapp(request: web.Request) -> web.Response:
    """GET / with any query: the page, rendered anew with the present settings."""
    settings = request.app[WORLD].settings
    if settings.refuse_headless and "HeadlessChrome" in request.headers.get("User-Agent", ""):
        return _html(_TOO_OLD)
    index = PAGE_DIR / "index.html"
    if not index.is_file():
        return web.Response(status=503, text="The simulator was installed without its page.\n")
    nonce = secrets.token_urlsafe(16)
    text = index.read_text(encoding="utf-8")
    text = text.replace("__NONCE__", nonce).replace("__SETTINGS__", _in_script(settings))
    return _html(text, _policy(nonce) if settings.csp else None)


async def phone(_request: web.Request) -> web.Response:
    """GET /phone"""
    return _html((PHONE_DIR / "index.html").read_text(encoding="utf-8"), _PHONE_POLICY)


async def page_file(request: web.Request) -> web.Response:
    """GET /sim/<path>"""
    return _file(PAGE_DIR, request.match_info["path"])


async def phone_file(request: web.Request) -> web.Response:
    """GET /phone/<path>"""
    return _file(PHONE_DIR, request.match_info["path"])


def _html(text: str, policy: str | None = None) -> web.Response:
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    if policy is not None:
        headers["Content-Security-Policy"] = policy
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)


def _file(directory: Path, path: str) -> web.Response:
    """A file inside the directory; everything else does not exist."""
    if "\0" in path:
        raise web.HTTPNotFound
    wanted = (directory / path).resolve()
    content_type = _TYPES.get(wanted.suffix)
    if not wanted.is_relative_to(directory) or content_type is None or not wanted.is_file():
        raise web.HTTPNotFound
    return web.Response(
        body=wanted.read_bytes(),
        content_type=content_type,
        charset="utf-8" if content_type.startswith("text/") else None,
        headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"},
    )
