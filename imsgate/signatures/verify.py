"""Signed images: those whose properties say how, and by which certificate, they are signed.

Their data is verified on the way in, as it becomes the image's: what is unpacked is
verified unpacked. An image with all four properties that cannot be verified is refused, as by
Glance.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.http import body
from imsgate.model import Image

GROUP = "signatures"
CASTELLAN = "castellan"
OPTS = (
    cfg.StrOpt(
        "certificates",
        help="Where the certificates of signed images come from: castellan, the key manager of "
        "[key_manager] (Barbican unless that says otherwise), or the path of a directory with a "
        "file UUID.pem of each. Without it signed images are refused. Needs imsgate[signatures].",
    ),
)

CERTIFICATE = "img_signature_certificate_uuid"
#: An image that has all of these is signed; names as in cursive.
PROPERTIES = (
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    CERTIFICATE,
)

#: From the properties and a certificate (DER) to what watches the data.
Verifier = Callable[[Mapping[str, str], bytes], body.Tap]
#: From a certificate's id, a user's token and project to the certificate (DER).
Source = Callable[[str, str | None, str | None], bytes]


def signed(image: Image) -> bool:
    """Whether this image's data must be verified."""
    return all(name in image.properties for name in PROPERTIES)


class Signatures:
    """Begins verifications. Without ``verifier`` every signed image is refused."""

    def __init__(self, verifier: Verifier | None) -> None:
        self._verifier = verifier

    def begin(self, image: Image, certificate: bytes | None) -> body.Tap | None:
        """What watches the data and fails at its end if the signature is of other data.

        None for an image that is not signed. Raises SignatureRefused.
        """
        if not signed(image):
            return None
        if self._verifier is None:
            raise errors.SignatureRefused(problem="no signature is verified here")
        if certificate is None:
            raise errors.SignatureRefused(problem="the image was not signed when this began")
        return self._verifier(image.properties, certificate)


def load(settings: Any) -> Signatures:
    """What the values of OPTS describe. Raises BadConfig when the extra is not installed."""
    return Signatures(_certificates().verification if settings.certificates else None)


def load_source(settings: Any, native: cfg.ConfigOpts) -> Source | None:
    """Where certificates come from; None for nowhere. Raises BadConfig."""
    where = settings.certificates
    if not where:
        return None
    source: Source = (
        _certificates().KeyManager(native)
        if where == CASTELLAN
        else _certificates().Directory(where, f"[{GROUP}] certificates")
    )
    return source


def _certificates() -> Any:
    """The module that needs the extra."""
    try:
        return importlib.import_module("imsgate.signatures.certificates")
    except ImportError as error:
        problem = f"this needs the extra imsgate[signatures]: {error}"
        raise BadConfig(f"[{GROUP}] certificates", problem) from error
