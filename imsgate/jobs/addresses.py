"""Which addresses a download may connect to: the public ones, and what the operator allows.

Pure: an address in, a verdict out. Addresses that carry another one inside (mapped,
translated or tunnelled IPv4) are judged by both.
"""

import dataclasses
import ipaddress
from collections.abc import Iterator, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Public by their number, but the metadata service of a cloud.
_METADATA = (ipaddress.ip_network("168.63.129.16/32"),)

#: Prefixes whose last 32 bits are an IPv4 address: compatible, translated (RFC 6052, 8215).
_LAST_32 = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """Networks that are allowed whatever they are, and further ones that are not."""

    allowed: Sequence[Network] = ()
    disallowed: Sequence[Network] = ()

    def permit(self, address: Address) -> bool:
        """Whether a download may connect there."""
        return all(self._permits(form) for form in forms(address))

    def _permits(self, address: Address) -> bool:
        if any(_within(address, network) for network in self.disallowed):
            return False
        if any(_within(address, network) for network in self.allowed):
            return True
        return is_public(address)


def is_public(address: Address) -> bool:
    """Whether it is an address of one host on the Internet, and not a cloud's own."""
    special = (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or getattr(address, "is_site_local", False)
    )
    metadata = any(_within(address, network) for network in _METADATA)
    return address.is_global and not special and not metadata


def forms(address: Address) -> Iterator[Address]:
    """Everything that a connection to this address may reach."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:  # the system connects to the IPv4 address itself
        yield address.ipv4_mapped
        return
    yield address
    if address.is_loopback or address.is_unspecified:
        return
    bits = int(address)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    isatap = (bits >> 32) & 0xFCFFFFFF == 0x00005EFE
    if isatap or address in _LOCAL_NAT64 or any(address in network for network in _LAST_32):
        yield ipaddress.IPv4Address(bits & 0xFFFFFFFF)


def _within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network
