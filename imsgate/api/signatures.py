"""Verification of signed images: the certificate is fetched with the user's own token."""

import dataclasses

from imsgate.http.body import Tap
from imsgate.http.request import Request
from imsgate.model import Image
from imsgate.signatures.verify import CERTIFICATE, Signatures, Source, signed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """If ``source`` is None, no certificate can be fetched and signed images are refused."""

    signatures: Signatures
    source: Source | None

    def watch(self, request: Request, image: Image) -> None:
        """Verify the request body while it is read. Raises SignatureRefused."""
        tap = self.tap(request, image)
        if tap is not None:
            request.tap(tap)

    def tap(self, request: Request, image: Image) -> Tap | None:
        """What verifies the image's data; None if it is not signed. Raises SignatureRefused."""
        return self.signatures.begin(image, self._certificate(request, image))

    def certificate(self, request: Request, image: Image) -> bytes | None:
        """The certificate (DER) with which a job verifies the data: it has no token of the user.

        None for an image that is not signed. Raises SignatureRefused.
        """
        certificate = self._certificate(request, image)
        self.signatures.begin(image, certificate)
        return certificate

    def _certificate(self, request: Request, image: Image) -> bytes | None:
        if self.source is None or not signed(image):
            return None
        project = request.identity.project_id if request.identity else None
        token = request.headers.get("X-Auth-Token")
        return self.source(image.properties[CERTIFICATE], token, project)
