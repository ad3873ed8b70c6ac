"""Which network addresses may be called from here: pure, and the last word on every connection.

An address inside another one (IPv4 in IPv6, in its several ways) is judged by what it leads to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from flowhq.errors import EgressRefusedError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA's special-purpose registries, 2026; whatever is not on the public internet, and two that
# are though they lead into the machine's own surroundings: 6to4 relays and Azure's host.
REFUSED_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Of IPv6 only what is handed out at all, without its own special parts: protocols (Teredo among
# them) and documentation.
GLOBAL_IPV6 = IPv6Network("2000::/3")
REFUSED_IPV6 = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
NAT64 = IPv6Network("64:ff9b::/96")
LOW_32_BITS = 0xFFFF_FFFF


def unwrapped(address: Address) -> Address:
    """What the address leads to: the IPv4 address in a mapped, NAT64 or 6to4 one, else itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return IPv4Address(int(address) & LOW_32_BITS)
    return address.sixtofour or address


def is_public(address: Address) -> bool:
    """True for what lies on the public internet."""
    target = unwrapped(address)
    if isinstance(target, IPv4Address):
        return not any(target in network for network in REFUSED_IPV4)
    return target in GLOBAL_IPV6 and not any(target in network for network in REFUSED_IPV6)


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be called: the public internet, and the networks that the operator lists."""

    networks: Sequence[Network] = ()

    @classmethod
    def of(cls, networks: Sequence[str]) -> "Reach":
        """Out of the settings' texts, such as ``10.1.0.0/16``; ValueError for what is none."""
        return cls(tuple(ip_network(text) for text in networks))

    def check(self, host: str) -> None:
        """EgressRefusedError unless this address, as a socket is given it, may be called."""
        try:
            address = ip_address(host)
        except ValueError as error:
            raise EgressRefusedError(
                "The address is written in a way that is not taken."
            ) from error
        target = unwrapped(address)
        listed = any(target in network or address in network for network in self.networks)
        if not (listed or is_public(address)):
            raise EgressRefusedError(
                "The address is not on the public internet.",
                next_step="An operator can list its network in [egress] allow_networks.",
            )
