"""Who is really there: the peer itself, or what a listed proxy says of its client.

X-Forwarded-For, -Proto and -Host count only from the proxies of the settings, and only what the
last of them in the chain says: everybody can send such headers.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp import web

from flowhq.admin.problems import WRONG_HOST, ProblemError
from flowhq.config import AdminSettings, is_loopback

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, and under which name it reached us; ``host`` with its port."""

    address: str
    scheme: str
    host: str


CLIENT: web.RequestKey[Client] = web.RequestKey("client", Client)


class Proxies:
    """The proxies of the settings; without ``behind_proxy`` there are none."""

    def __init__(self, settings: AdminSettings) -> None:
        listed = settings.trusted_proxies if settings.behind_proxy else ()
        self._trusted = [ip_network(text) for text in listed]
        self._only_proxies = settings.behind_proxy and not settings.tls_cert

    def find_client(self, request: web.Request) -> Client:
        """ProblemError (421) for a peer that should have come through a proxy."""
        peer = request.remote or ""
        host = request.headers.get("Host", "")
        if not self._is_trusted(_read(peer)):
            if self._only_proxies and not is_loopback(peer):
                raise ProblemError(
                    WRONG_HOST,
                    "Only the proxies of the settings may connect here.",
                    next_step="Use the proxy's address, or add it to [admin] trusted_proxies.",
                )
            return Client(peer, request.scheme, host)
        scheme = _last(request, "X-Forwarded-Proto").lower()
        return Client(
            self._first_stranger(request, peer),
            scheme if scheme in ("http", "https") else request.scheme,
            _last(request, "X-Forwarded-Host") or host,
        )

    def _first_stranger(self, request: web.Request, peer: str) -> str:
        """From the nearest hop outwards, the first that is no proxy of ours; what comes before it
        in the header, it may have made up."""
        nearest = peer
        for text in reversed(_values(request, "X-Forwarded-For")):
            hop = _read(text)
            if hop is None:
                return nearest
            nearest = str(hop)
            if not self._is_trusted(hop):
                return nearest
        return nearest

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def client_of(request: web.Request) -> Client:
    """What `Proxies` found when the request came in."""
    return request[CLIENT]


def _values(request: web.Request, name: str) -> list[str]:
    joined = ",".join(request.headers.getall(name, ()))
    return [value.strip() for value in joined.split(",")] if joined else []


def _last(request: web.Request, name: str) -> str:
    values = _values(request, name)
    return values[-1] if values else ""


def _read(text: str) -> Address | None:
    """The address, with or without a port; None for what is none."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
