"""Signed images: images whose properties contain a signature and the id of a certificate.

The signature is verified while the data is stored. If an import decompresses the data, the
signature must be that of the decompressed data. An image with all four properties that cannot be
verified is refused, as in Glance.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from oslo_config import cfg

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.http import body
from imsgate.model import Image
from imsgate.settings import Settings

GROUP = "signatures"
CASTELLAN = "castellan"
OPTS = (
    cfg.StrOpt(
        "certificates",
        help="The source of the certificates of signed images: castellan for the key manager "
        "that [key_manager] configures (Barbican by default), or the path of a directory that "
        "contains each certificate as UUID.pem. If unset, signed images are refused. Needs "
        "imsgate[signatures].",
    ),
)


class SignatureSettings(Settings, group=GROUP, opts=OPTS):
    certificates: str | None


CERTIFICATE = "img_signature_certificate_uuid"
#: An image with all of these properties is signed. The names are those of cursive.
PROPERTIES = (
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    CERTIFICATE,
)

#: Takes the properties and a certificate (DER); returns the tap that verifies the data.
Verifier = Callable[[Mapping[str, str], bytes], body.Tap]
#: Takes a certificate's id, a user's token and project; returns the certificate (DER).
Source = Callable[[str, str | None, str | None], bytes]


def signed(image: Image) -> bool:
    """Whether the data of this image must be verified."""
    return all(name in image.properties for name in PROPERTIES)


class Signatures:
    """Begins the verification of each signed image."""

    def __init__(self, verifier: Verifier | None) -> None:
        """Without ``verifier`` every signed image is refused."""
        self._verifier = verifier

    def begin(self, image: Image, certificate: bytes | None) -> body.Tap | None:
        """The tap that verifies the data; None for an image that is not signed.

        ``certificate`` (DER) is the one read when the upload or import began. Raises
        SignatureRefused; so does the tap, at the end of data that does not match the signature.
        """
        if not signed(image):
            return None
        if self._verifier is None:
            raise errors.SignatureRefused(problem="this server does not verify signatures")
        if certificate is None:
            raise errors.SignatureRefused(
                problem="the image was not signed when the upload or import began"
            )
        return self._verifier(image.properties, certificate)


def load(settings: SignatureSettings) -> Signatures:
    """The verification that the settings select. Raises BadConfig without the extra."""
    if not settings.certificates:
        return Signatures(None)
    with _extra_required():
        from imsgate.signatures.certificates import verification  # noqa: PLC0415
    return Signatures(verification)


def load_source(settings: SignatureSettings, native: cfg.ConfigOpts) -> Source | None:
    """The source of certificates; None if none is configured. Raises BadConfig."""
    if not settings.certificates:
        return None
    with _extra_required():
        from imsgate.signatures.certificates import CertificateDirectory, KeyManager  # noqa: PLC0415
    if settings.certificates == CASTELLAN:
        return KeyManager(native)
    return CertificateDirectory(settings.certificates, f"[{GROUP}] certificates")


@contextlib.contextmanager
def _extra_required() -> Iterator[None]:
    """Around an import that fails unless the extra is installed. Raises BadConfig."""
    try:
        yield
    except ImportError as error:
        problem = f"this needs the extra imsgate[signatures]: {error}"
        raise BadConfig(f"[{GROUP}] certificates", problem) from error
