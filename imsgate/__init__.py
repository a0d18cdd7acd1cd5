"""imsgate: an image-upload gateway in front of object and file stores."""

import hashlib

if not hasattr(hashlib, "md5"):
    # Python has left it out, because this host is in FIPS mode and has no MD5 for any purpose.
    # WebOb 1.8 imports the function, for ETags that imsgate does not use.

    def _md5(data: bytes = b"", *, usedforsecurity: bool = True) -> None:
        raise ValueError("this host has no md5")

    hashlib.md5 = _md5  # type: ignore[assignment]
