"""flowhq-simulator: runs the simulator until it is told to stop."""

import argparse
import asyncio
import ipaddress
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from flowhq.simulator.server import Address, Listening, listening
from flowhq.simulator.world import World

EXIT_BAD_ARGUMENTS = 2
EXIT_CANNOT_LISTEN = 1


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8790")
    return Address(host, int(port))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="flowhq-simulator",
        description="A local WhatsApp Web with phones: page, control API and phone page.",
    )
    parser.add_argument(
        "--http",
        type=_address,
        default="127.0.0.1:8790",
        metavar="HOST:PORT",
        help="page, phone page and control API (default %(default)s; port 0: a free one)",
    )
    parser.add_argument(
        "--tls",
        type=_address,
        default="127.0.0.1:8443",
        metavar="HOST:PORT",
        help="the page as https://web.whatsapp.com, self-signed (default %(default)s)",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help="write {http, tls, pid} as JSON there once both listeners are open",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="allow an address that is not loopback; anybody who reaches it commands the simulator",
    )
    options = parser.parse_args(arguments)
    for name, address in (("--http", options.http), ("--tls", options.tls)):
        if not options.allow_remote and not _is_loopback(address.host):
            parser.error(
                f"{name} {address} is not a loopback address; the simulator has no passwords, "
                "so this needs --allow-remote"
            )
    if options.ready_file is not None and not options.ready_file.parent.is_dir():
        parser.error(f"--ready-file: there is no directory {options.ready_file.parent}")
    return options


def _write_ready_file(path: Path, addresses: Listening) -> None:
    """The file appears whole or not at all."""
    content = {
        "http": f"http://{addresses.http}",
        "tls": f"https://{addresses.tls}",
        "pid": os.getpid(),
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(orjson.dumps(content))
    draft.replace(path)


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with listening(World(), options.http, options.tls) as addresses:
        if options.ready_file is not None:
            _write_ready_file(options.ready_file, addresses)
        sys.stdout.write(f"http://{addresses.http}\nhttps://{addresses.tls}\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """0 after a signal, 1 when an address cannot be taken, 2 for bad arguments."""
    options = _parse(arguments)
    try:
        asyncio.run(_run(options))
    except OSError as error:
        sys.stderr.write(f"flowhq-simulator: {error.strerror or error}\n")
        return EXIT_CANNOT_LISTEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
