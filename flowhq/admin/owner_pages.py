"""The pages of owners, behind a pairing link and after a sign-in: files of the package, served as
they are."""

from collections.abc import Awaitable, Callable
from importlib import resources

from aiohttp import web

from flowhq.admin.inputs import NoBody, NoQuery
from flowhq.admin.routes import Call, Route

# Nothing inline, nothing foreign; the code is a data URL.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Handler = Callable[[Call[NoBody, NoQuery]], Awaitable[web.Response]]


def _serve(name: str, media: str) -> Handler:
    content = (resources.files("flowhq.admin") / name).read_bytes()

    async def handle(call: Call[NoBody, NoQuery]) -> web.Response:
        return web.Response(
            body=content,
            content_type=media,
            charset="utf-8",
            headers={"Content-Security-Policy": POLICY},
        )

    return handle


def _page(path: str, name: str, summary: str, file: str, media: str) -> Route[NoBody, NoQuery]:
    return Route(
        "GET",
        path,
        name,
        summary,
        _serve(file, media),
        body=NoBody,
        query=NoQuery,
        answer=None,
        needs=None,
        media=(media,),
    )


ROUTES = (
    _page("/pair", "pair_page", "The page of a pairing link", "pair/index.html", "text/html"),
    _page("/pair/page.js", "pair_script", "Its script", "pair/page.js", "text/javascript"),
    _page("/pair/page.css", "pair_style", "Its style", "pair/page.css", "text/css"),
    _page(
        "/portal/signed-in",
        "signed_in_page",
        "Where an owner's browser lands after the sign-in",
        "signed_in/index.html",
        "text/html",
    ),
    _page(
        "/portal/signed-in/page.js",
        "signed_in_script",
        "Its script",
        "signed_in/page.js",
        "text/javascript",
    ),
)
