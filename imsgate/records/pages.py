"""Pages of a list of images."""

import dataclasses
from collections.abc import Callable, Sequence

from imsgate.model import Image


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Images that follow one another in a list.

    ``next_marker`` is the marker of the following page; None if this page is the last one.
    """

    images: list[Image]
    next_marker: str | None


class Fitting:
    """Counts the images that fit on a page, of a list that grows while it is read."""

    def __init__(self, size: Callable[[Image], int], limit: int) -> None:
        """``size`` returns the bytes of an image; ``limit`` is in bytes."""
        self._size = size
        self._bytes_left = limit
        self._count = 0

    def count(self, images: Sequence[Image]) -> int:
        """How many of these images fit; at least the first one does.

        ``images`` begins with the images of the call before.
        """
        while self._bytes_left >= 0 and self._count < len(images):
            self._bytes_left -= self._size(images[self._count])
            if self._bytes_left >= 0 or self._count == 0:
                self._count += 1
        return self._count
