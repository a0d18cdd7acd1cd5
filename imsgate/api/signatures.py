"""Signed images, as requests meet them: the certificate is fetched for the user who asks."""

import dataclasses

from imsgate.http.request import Request
from imsgate.model import Image
from imsgate.signatures.verify import CERTIFICATE, Signatures, Source, signed


@dataclasses.dataclass(frozen=True, slots=True)
class Signing:
    """Without ``source`` no certificate is fetched, and signed images are refused."""

    signatures: Signatures
    source: Source | None

    def watch(self, request: Request, image: Image) -> None:
        """Let the body be verified. Raises SignatureRefused."""
        tap = self.signatures.begin(image, self._certificate(request, image))
        if tap is not None:
            request.tap(tap)

    def certificate(self, request: Request, image: Image) -> bytes | None:
        """What a job verifies by, which has no token to ask with. Raises SignatureRefused."""
        certificate = self._certificate(request, image)
        self.signatures.begin(image, certificate)
        return certificate

    def _certificate(self, request: Request, image: Image) -> bytes | None:
        if self.source is None or not signed(image):
            return None
        project = request.identity.project_id if request.identity else None
        token = request.headers.get("X-Auth-Token")
        return self.source(image.properties[CERTIFICATE], token, project)
