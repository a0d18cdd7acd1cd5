"""The addresses that downloads may connect to: public ones, and those the operator allows.

Without side effects: an address in, a verdict out. An address that contains an IPv4 address is
judged by that as well.
"""

import dataclasses
import ipaddress
from collections.abc import Iterator, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Not public, whatever the tables of the running Python say: the special-purpose networks of IANA,
#: whose number grows, and a cloud's metadata service at a public address.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4"),
            *("64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20"),
            *("5f00::/16", "fec0::/10", "168.63.129.16/32"),
            *("::/96", "::ffff:0:0:0/96", "2002::/16"),  # obsolete forms that contain IPv4
        ),
    )
)

#: Translated IPv4 (RFC 6052), by which a host that only has IPv6 reaches IPv4 hosts.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """Networks that are allowed although they are private, and public ones that are not."""

    allowed: Sequence[Network] = ()
    disallowed: Sequence[Network] = ()

    def permit(self, address: Address) -> bool:
        """Whether a download may connect to this address."""
        return all(self._permits(form) for form in forms(address))

    def _permits(self, address: Address) -> bool:
        if any(_within(address, network) for network in self.disallowed):
            return False
        if any(_within(address, network) for network in self.allowed):
            return True
        return is_public(address)


def is_public(address: Address) -> bool:
    """Whether this is the address of a host on the Internet, and no special-purpose address."""
    special = (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )
    listed = any(_within(address, network) for network in _SPECIAL)
    return address.is_global and not special and not listed


def forms(address: Address) -> Iterator[Address]:
    """All addresses that a connection to this one may reach."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:  # the system connects to the IPv4 address itself
        yield address.ipv4_mapped
        return
    yield address
    bits = int(address)
    isatap = (bits >> 32) & 0xFCFFFFFF == 0x00005EFE
    if isatap or address in _NAT64:
        yield ipaddress.IPv4Address(bits & 0xFFFFFFFF)


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
