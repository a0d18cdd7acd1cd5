"""The object in a user's bucket that a request names."""

from typing import Any

from imsgate.api.deployment import Deployment
from imsgate.buckets import image_url
from imsgate.buckets.image_url import ImageUrl
from imsgate.errors import BadImageUrl, NotOffered
from imsgate.model import Identity


def parse(deployment: Deployment, who: Identity, text: Any) -> ImageUrl:
    """The object, if the project of ``who`` may use its bucket.

    Raises BadImageUrl, BucketNotAccessible, and NotOffered if there is no object storage.
    """
    if deployment.allowed_buckets is None:
        raise NotOffered(problem="no object storage is configured")
    if not isinstance(text, str):
        raise BadImageUrl("IMG.0017", problem="it is required, as a string")
    url = image_url.parse(text)
    deployment.allowed_buckets.check(who.project_id, url.bucket)
    return url
