"""Encryption keys of volumes that Cinder uploaded as images: deleted with the image, as by Glance.

Cinder makes a copy of the volume's key for each image. The properties of the image say which key it
is, and that it is of no use without the image.
"""

import logging

from oslo_config import cfg

from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.inspection import CINDER_KEY
from imsgate.model import Image
from imsgate.settings import Settings

LOG = logging.getLogger(__name__)

GROUP = "encryption"
OPTS = (
    cfg.BoolOpt(
        "delete_keys",
        default=False,
        help="Whether the encryption key of a volume that Cinder uploaded as an image "
        "(cinder_encryption_key_id) is deleted with the image, if its property "
        "cinder_encryption_key_deletion_policy is on_image_deletion. The key manager is that of "
        "[key_manager], which is asked with the token of the user. Glance always does this. Needs "
        "imsgate[signatures].",
    ),
)


class EncryptionSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[encryption]``."""

    delete_keys: bool


#: The property that permits the deletion, and its value that does.
DELETION_POLICY, ON_IMAGE_DELETION = "cinder_encryption_key_deletion_policy", "on_image_deletion"


class EncryptionKeys:
    """Deletes the keys of deleted images."""

    def __init__(self, settings: EncryptionSettings, native: cfg.ConfigOpts) -> None:
        """Raises BadConfig, naming the option."""
        self._manager = None
        if settings.delete_keys:
            try:
                from imsgate.signatures.key_deletion import KeyDeletion  # noqa: PLC0415
            except ImportError as error:
                problem = f"this needs the extra imsgate[signatures]: {error}"
                raise BadConfig(f"[{GROUP}] delete_keys", problem) from error
            self._manager = KeyDeletion(native)

    def delete_of(self, image: Image, token: str | None, project: str | None) -> None:
        """Delete the key of an image that was deleted, if its properties say so.

        ``token`` and ``project`` are the user's. The image is gone whatever becomes of its key, so
        a failure is only logged.
        """
        key_id = image.properties.get(CINDER_KEY)
        if not key_id or image.properties.get(DELETION_POLICY) != ON_IMAGE_DELETION:
            return
        problem: str | None = f"[{GROUP}] delete_keys is false"
        if self._manager is not None:
            problem = self._manager.delete(key_id, token, project)
        if problem is not None:
            LOG.warning(
                "The encryption key %r of image %s was not deleted: %s", key_id, image.id, problem
            )


def load(conf: Config) -> EncryptionKeys:
    """The deletion of keys that the options select. Raises BadConfig."""
    return EncryptionKeys(conf.read(EncryptionSettings), conf.native)
