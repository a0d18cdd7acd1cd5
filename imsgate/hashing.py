"""Digest algorithms by their hashlib names, and what each may be used for.

None of them is used for security here: they detect data that changed on the way. Still, a host in
FIPS mode may not have all of them. Those that it does not have are left out of every list.
"""

import dataclasses
import hashlib


def is_available(algorithm: str) -> bool:
    """Whether this host has the algorithm."""
    try:
        hashlib.new(algorithm, usedforsecurity=False)
    except ValueError:
        return False
    return True


def available(*algorithms: str) -> tuple[str, ...]:
    """Those of the algorithms that this host has."""
    return tuple(filter(is_available, algorithms))


#: The algorithm of an image's ``checksum``, as in Glance.
CHECKSUM = "md5"

#: The algorithms that ``[upload] hashing_algorithm`` may name, for ``os_hash_value`` of new data:
#: every algorithm of hashlib whose digests have one fixed size.
OS_HASH = available(*sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}))

#: The algorithms that ``validation_data`` of a location may name, in the order in which Glance's
#: schema lists them (Image API v2, Locations: Add location).
VALIDATION_DATA = available("sha1", "sha256", "sha512", "md5")

#: The algorithms that ``method.digest`` of a ``web-download`` may name (imsgate's own member):
#: those that publishers of images use for their lists of digests.
DOWNLOAD = available("md5", "sha1", "sha224", "sha256", "sha384", "sha512")

#: The algorithms of Repr-Digest and Content-Digest (RFC 9530, section 5, and its registry), and
#: hashlib's names for them.
_FIELDS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
FIELDS = {field: name for field, name in _FIELDS.items() if is_available(name)}


@dataclasses.dataclass(frozen=True, slots=True)
class RecordAlgorithms:
    """The algorithms of the digests in an image record; None for a digest that it does not have."""

    os_hash: str | None
    checksum: str | None = CHECKSUM

    def names(self) -> tuple[str, ...]:
        """The algorithms to compute, each once."""
        wanted = (self.checksum, self.os_hash)
        return tuple(dict.fromkeys(name for name in wanted if name is not None))


#: The fields of a record that ``recorded`` reads, in this order.
DIGEST_FIELDS = ("os_hash_algo", "os_hash_value", "checksum")


def recorded(os_hash_algo: object, os_hash_value: object, checksum: object) -> dict[str, str]:
    """The digests of a record, by algorithm, that can be computed here; that of os_hash_value is
    first.

    Images of old releases of Glance have a checksum only, or no digest.
    """
    values = ((str(os_hash_algo), os_hash_value), (CHECKSUM, checksum))
    return {
        algorithm: str(value).lower()
        for algorithm, value in values
        if value and algorithm in OS_HASH
    }


def digest_size(algorithm: str) -> int:
    """The size of a digest in bytes. Raises ValueError for an unknown algorithm."""
    return hashlib.new(algorithm, usedforsecurity=False).digest_size
