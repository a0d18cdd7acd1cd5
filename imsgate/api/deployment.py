"""What this deployment offers its clients."""

import dataclasses

from imsgate import errors
from imsgate.buckets.image_url import Allowed
from imsgate.model import Image
from imsgate.stores.enabled import Stores


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What handlers tell clients about this deployment, and check requests against.

    ``import_methods`` are the enabled ones. With ``detects_formats``, image data may be sent
    before formats are declared; its content then sets them. ``allowed_buckets`` is None if no
    object storage for users is configured. ``public_endpoint`` is the URL by which clients reach
    this service, if it differs from the one in the request.
    """

    stores: Stores
    import_methods: tuple[str, ...]
    detects_formats: bool
    allowed_buckets: Allowed | None
    public_endpoint: str | None

    def check_formats(self, image: Image) -> None:
        """Raises FormatsNotSet if data for this image must not be sent yet."""
        has_formats = image.disk_format and image.container_format
        if not (has_formats or self.detects_formats):
            raise errors.FormatsNotSet
