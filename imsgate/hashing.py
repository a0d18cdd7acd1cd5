"""Digest algorithms by their hashlib names, and what each may be used for.

None of them is used for security here: they detect data that changed on the way.
"""

import hashlib

#: The algorithm of an image's ``checksum``, as in Glance.
CHECKSUM = "md5"

#: The algorithms that ``[upload] hashing_algorithm`` may name, for ``os_hash_value`` of new data:
#: every algorithm of hashlib whose digests have one fixed size.
OS_HASH = tuple(sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}))

#: The algorithms that ``validation_data`` of a location may name, in the order in which Glance's
#: schema lists them (Image API v2, Locations: Add location).
VALIDATION_DATA = ("sha1", "sha256", "sha512", "md5")

#: The algorithms that ``method.digest`` of a ``web-download`` may name (imsgate's own member):
#: those that publishers of images use for their lists of digests.
DOWNLOAD = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")

#: The algorithms of Repr-Digest and Content-Digest (RFC 9530, section 5, and its registry), and
#: hashlib's names for them.
FIELDS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}


def digest_size(algorithm: str) -> int:
    """The size of a digest in bytes. Raises ValueError for an unknown algorithm."""
    return hashlib.new(algorithm, usedforsecurity=False).digest_size
