"""The API's own page: Swagger UI, built in, under a policy that lets nothing foreign in.

The files are read once and served by name from a closed list. In a checkout that was never built
they are missing: the page says so, and the rest of the API works.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from aiohttp import web

from flowhq.admin.inputs import NoBody, NoQuery
from flowhq.admin.problems import NOT_FOUND
from flowhq.admin.routes import Call, Route
from flowhq.admin.scopes import Scope
from flowhq.admin.versions import is_known
from flowhq.errors import NotFoundError

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = HERE / "pages/docs.html"
FILES: Mapping[str, tuple[Path, str]] = MappingProxyType(
    {
        "docs.js": (HERE / "pages/docs.js", "text/javascript"),
        "swagger-ui-bundle.js": (HERE / "vendor/swagger-ui-bundle.js", "text/javascript"),
        "swagger-ui.css": (HERE / "vendor/swagger-ui.css", "text/css"),
    }
)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file to serve; ``tag`` is its ETag."""

    body: bytes
    media: str
    tag: str


ASSETS = web.AppKey("assets", dict[str, Asset])


def load_assets() -> dict[str, Asset]:
    """The files that are there, by name; the page itself is ""."""
    files = {"": (PAGE, "text/html"), **FILES}
    return {name: _load(path, media) for name, (path, media) in files.items() if path.is_file()}


def _load(path: Path, media: str) -> Asset:
    body = path.read_bytes()
    return Asset(body, media, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


async def show_docs(call: Call[NoBody, NoQuery]) -> web.Response:
    return _serve(call, "")


async def show_docs_file(call: Call[NoBody, NoQuery]) -> web.Response:
    return _serve(call, call.request.match_info["file"])


def _serve(call: Call[NoBody, NoQuery], name: str) -> web.Response:
    asset = call.request.app[ASSETS].get(name)
    if asset is None:
        raise NotFoundError(
            "This installation does not have this file.",
            next_step="Install the package, which carries it; GET /openapi.json needs no page.",
        )
    # Asked for each time, sent again only after an upgrade.
    headers = {
        "ETag": asset.tag,
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": POLICY,
    }
    if is_known(call.request, asset.tag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=asset.body, content_type=asset.media, charset="utf-8", headers=headers)


ROUTES = (
    Route(
        "GET",
        "/docs",
        "docs",
        "This API as a page, to be read and tried",
        show_docs,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.STATUS_READ,
        media=("text/html",),
        problems=(NOT_FOUND,),
        fleet_wide=False,
        versioned=True,
    ),
    Route(
        "GET",
        "/docs/{file}",
        "docs_file",
        "A file of that page",
        show_docs_file,
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=Scope.STATUS_READ,
        media=("text/javascript", "text/css"),
        problems=(NOT_FOUND,),
        fleet_wide=False,
        versioned=True,
    ),
)
