"""What this deployment offers its clients."""

import dataclasses

from imsgate.buckets.image_url import Allowed
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
