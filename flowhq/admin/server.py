"""The listening side of the admin API: opens the port, closes it without leaving a request."""

import asyncio
import errno
import logging
import ssl
from collections.abc import MutableMapping
from typing import Any

from aiohttp import web

from flowhq.admin.polling import CLOSING
from flowhq.config import AdminSettings
from flowhq.errors import MisconfiguredError

# Requests in progress at a stop are short: long polls end at once, a change takes its command's
# time limit at most. Beyond this they are cancelled.
SHUTDOWN_TIMEOUT_S = 8.0
BACKLOG = 128


class AdminServer:
    """One listening socket for one application; open and close once each."""

    def __init__(
        self, app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._app = app
        self._tls = tls
        self._host = host
        self._port = port
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            logger=_ProtocolLogger(logging.getLogger(__name__), {}),
        )

    async def open(self) -> None:
        """Listens from now on; MisconfiguredError if the address is taken or not ours."""
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._host, self._port, backlog=BACKLOG, ssl_context=self._tls
        )
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise _cannot_listen(error, self._host, self._port) from error

    @property
    def url(self) -> str:
        """Where it listens, for people."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    @property
    def port(self) -> int:
        """The port really listened on, which the system chose if port 0 was asked for."""
        return int(self._runner.addresses[0][1])

    def tell_stopping(self) -> None:
        """Not ready from now on: health says so, long polls are answered at once."""
        self._app[CLOSING].set()

    async def close(self) -> None:
        """Takes no new requests, answers long polls at once, waits for the rest. Safe twice."""
        self.tell_stopping()
        await asyncio.shield(self._runner.cleanup())


def tls_context(settings: AdminSettings) -> ssl.SSLContext | None:
    """The certificate of the settings, None without one; MisconfiguredError if it cannot be
    used."""
    if not settings.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:
        raise MisconfiguredError(
            f"The certificate of the admin API cannot be used: {error.strerror or error}.",
            next_step="Check [admin] tls_cert and tls_key: PEM files that the daemon's user may "
            "read, and that belong together.",
        ) from error
    return context


class _ProtocolLogger(logging.LoggerAdapter[logging.Logger]):
    """Says that a request was malformed without its bytes: they may hold a password."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        error = kwargs.pop("exc_info", None)
        if isinstance(error, BaseException):
            msg = f"{msg} ({type(error).__name__})"
        return msg, kwargs


def _cannot_listen(error: OSError, host: str, port: int) -> MisconfiguredError:
    if error.errno == errno.EADDRINUSE:
        return MisconfiguredError(
            f"Port {port} on {host} is taken by another program.",
            next_step="Stop that program (it may be another flowhq-daemon), or set "
            "[admin] port or FLOWHQ_ADMIN__PORT to a free one.",
        )
    return MisconfiguredError(
        f"The admin API cannot listen on {host} port {port}: {error.strerror}.",
        next_step="Set [admin] host and port to an address of this machine.",
    )
