"""What this deployment offers its clients."""

import dataclasses

from imsgate import errors
from imsgate.buckets.image_url import Allowed
from imsgate.errors import BadConfig
from imsgate.jobs.conversion import Conversion
from imsgate.model import Image
from imsgate.stores.base import Resumable
from imsgate.stores.enabled import Stores
from imsgate.transfer.settings import UploadSettings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What handlers tell clients about this deployment, and check requests against.

    ``import_methods`` are the enabled ones. With ``detects_formats``, image data may be sent
    before formats are declared; its content then sets them. ``allowed_buckets`` is None if no
    object storage for users is configured. ``public_endpoint`` is the URL by which clients reach
    this service, if it differs from the one in the request. ``conversion`` is None if no images
    are converted.
    """

    stores: Stores
    import_methods: tuple[str, ...]
    detects_formats: bool
    allowed_buckets: Allowed | None
    public_endpoint: str | None
    conversion: Conversion | None = None

    def check_formats(self, image: Image) -> None:
        """Raises FormatsNotSet if data for this image must not be sent yet."""
        has_formats = image.disk_format and image.container_format
        if not (has_formats or self.detects_formats):
            raise errors.FormatsNotSet

    def converts_upload(self, image: Image) -> bool:
        """Whether a job converts the data of an upload to this image."""
        return self.conversion is not None and self.conversion.concerns_upload(image)


def check_named_stores(settings: UploadSettings, stores: Stores) -> None:
    """Raises BadConfig if a store that ``[upload]`` names cannot do what it is for.

    Of a store that is unavailable now, only the existence is checked.
    """
    backends = {each.id: each for each in stores}
    for option in ("staging_store", "spool_store"):
        name, key = getattr(settings, option), f"[{UploadSettings.GROUP}] {option}"
        if not name:
            continue
        if name not in backends:
            raise BadConfig(key, f"there is no store {name!r}")
        store = backends[name].started
        if store is not None and store.read_only:
            raise BadConfig(key, f"the store {name!r} is read-only")
        if option == "spool_store" and not isinstance(store, Resumable | None):
            raise BadConfig(key, f"the store {name!r} cannot keep a part of an upload")
