"""What is refused before anybody looks at credentials or bodies.

A web page in the operator's browser can reach a server on loopback. Three checks keep it out: the
Host header must be a name of this machine (DNS rebinding), a request that changes something must
not come from another site (Sec-Fetch-Site, Origin), and a secret never travels in the address,
where proxies, histories and logs would keep it.
"""

import hmac
import re
from ipaddress import ip_address

from aiohttp import web

from flowhq.admin.cookies import COOKIE, CSRF_HEADER, csrf_of, read_cookie
from flowhq.admin.problems import (
    CROSS_SITE,
    SECRET_IN_URL,
    WRONG_HOST,
    FieldError,
    ProblemError,
)
from flowhq.admin.proxies import Client
from flowhq.config import AdminSettings, is_loopback

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Server": "Flow HQ",
}
# What a page of ours may say differently.
OWN_OF_PAGES = frozenset({"Cache-Control", "Content-Security-Policy"})
_SECRET_KEY = re.compile(
    r"(^|_)(password|passwd|pwd|pass|token|secret|key|auth|authorization|bearer|credentials?)$"
    r"|^(api|access|admin|portal)(key|token|password)$"
)


def check_host(client: Client, settings: AdminSettings) -> None:
    """Refuses a request that does not name this machine: loopback, or a name of the settings."""
    host = _host_of(client.host)
    if not (is_loopback(host) or host in (settings.host.lower(), *settings.allowed_hosts)):
        raise ProblemError(
            WRONG_HOST,
            "The Host header names another machine.",
            next_step="Use 127.0.0.1 or localhost, or add the name to [admin] allowed_hosts.",
        )


def check_origin(request: web.Request, client: Client) -> None:
    """Refuses a change that a browser sends on behalf of another site."""
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = f"{client.scheme}://{client.host}"
    from_elsewhere = site is not None and site not in ("same-origin", "none")
    if from_elsewhere or (origin is not None and origin.lower() != own.lower()):
        raise ProblemError(
            CROSS_SITE,
            "The request comes from a page of another site.",
            next_step="Call the API from a program, or from a page that it serves itself.",
        )


def check_csrf(request: web.Request, cookie: str = COOKIE) -> None:
    """Refuses a change by cookie without the session's own token: a browser adds the cookie to
    whatever page makes it send something, and only a page of ours knows the token."""
    if request.method in SAFE_METHODS:
        return
    expected = csrf_of(read_cookie(request, cookie) or "")
    given = request.headers.get(CSRF_HEADER, "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(given, expected.encode()):
        raise ProblemError(
            CROSS_SITE,
            f"A change by a browser's session needs the header {CSRF_HEADER}.",
            next_step="Send the csrf_token that GET /admin/session or /portal/session answers.",
        )


def check_secret_in_url(request: web.Request) -> None:
    """Refuses a query that carries a password or token, whatever the route."""
    for key in request.query:
        name = key.strip().lower().replace("-", "_")
        if _SECRET_KEY.search(name):
            raise ProblemError(
                SECRET_IN_URL,
                "Secrets are not taken from the address: it ends up in histories and logs.",
                next_step="Use Basic authentication (curl -u admin) or Authorization: Bearer, "
                "and change the secret if this address was shared or stored.",
                errors=[FieldError(key[:64], "must not be in the query string.")],
            )


def _host_of(header: str) -> str:
    """The name or address in a Host header, lower case, without port and brackets."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?", header)
    if match is None:
        return ""
    if match[1]:
        try:
            return str(ip_address(match[1]))
        except ValueError:
            return ""
    return match[2].lower().rstrip(".")
