"""Puts the simulator together and listens."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from flowhq.simulator import control, pages, sockets, tls
from flowhq.simulator.sockets import WORLD
from flowhq.simulator.world import CLOSE_NETWORK, World

MAX_BODY_BYTES = 32 * 1024 * 1024
# Sockets and long polls are ended before; what still runs then is cut off.
SHUTDOWN_S = 2.0


@dataclasses.dataclass(frozen=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True)
class Listening:
    """The addresses that were really taken."""

    http: Address
    tls: Address


def create_app(world: World) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_as_json])
    app[WORLD] = world
    app.router.add_get("/", pages.whatsapp)
    app.router.add_get("/ws", sockets.serve)
    app.router.add_get("/sim/{path:.+}", pages.page_file)
    app.router.add_get("/phone", pages.phone)
    app.router.add_get("/phone/{path:.+}", pages.phone_file)
    app.router.add_route("GET", "/control/{name}", control.serve)
    app.router.add_route("POST", "/control/{name}", control.serve)
    app.on_shutdown.append(_end_everything)
    return app


@web.middleware
async def _as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Problems of the control API that aiohttp itself finds are JSON as well."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not request.path.startswith("/control/") or error.status < 400:
            raise
        return web.json_response({"ok": False, "error": error.reason}, status=error.status)


async def _end_everything(app: web.Application) -> None:
    world = app[WORLD]
    world.end_waits()
    for wire in list(world.wires):
        wire.close(CLOSE_NETWORK, "the simulator stops")


@contextlib.asynccontextmanager
async def listening(world: World, http: Address, https: Address) -> AsyncIterator[Listening]:
    """Both listeners are open inside the block. OSError when an address cannot be taken."""
    runner = web.AppRunner(
        create_app(world), access_log=None, shutdown_timeout=SHUTDOWN_S, handle_signals=False
    )
    await runner.setup()
    try:
        plain = web.TCPSite(runner, http.host, http.port)
        await plain.start()
        secure = web.TCPSite(runner, https.host, https.port, ssl_context=tls.server_context())
        await secure.start()
        first, second = runner.addresses
        yield Listening(Address(http.host, first[1]), Address(https.host, second[1]))
    finally:
        await runner.cleanup()
