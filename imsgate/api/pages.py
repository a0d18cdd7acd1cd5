"""Pages of images: each image is encoded once, and the page is sent in pieces."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import webob

from imsgate.http import responses
from imsgate.model import Identity, Image
from imsgate.records.pages import Page
from imsgate.records.records import Records
from imsgate.registry.base import Query


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of images in JSON, of limited size; see ``Records.page``."""

    page: Page
    encoded: Mapping[str, bytes]

    def response(self, members: Mapping[str, Any]) -> webob.Response:
        """The JSON object with the images and these further members."""
        images = [self.encoded[image.id] for image in self.page.images]
        return responses.json_list("images", images, members)


def read(
    records: Records,
    who: Identity,
    query: Callable[..., Query],
    marker: str | None,
    view: Callable[[Image], Mapping[str, Any]],
) -> Listing:
    """Read a page of images as ``Records.page`` does, and encode what ``view`` shows of each."""
    encoded: dict[str, bytes] = {}

    def size(image: Image) -> int:
        encoded[image.id] = responses.encode(view(image))
        return len(encoded[image.id])

    return Listing(page=records.page(who, query, marker, size), encoded=encoded)
