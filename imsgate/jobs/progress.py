"""The progress of a job: bytes, and the stores that an import still has to fill."""

from collections.abc import Callable, Sequence

from imsgate import errors
from imsgate.model import Image

#: Properties with store ids, separated by commas, as in Glance.
IMPORTING, FAILED = "os_glance_importing_to_stores", "os_glance_failed_import"


#: A property with the reason of the failure after which an image is ``queued`` again.
MESSAGE = "os_glance_failed_import_message"
_MAX_MESSAGE_CHARACTERS = 500


def with_progress(
    image: Image, *, importing: Sequence[str] = (), failed: Sequence[str] = ()
) -> dict[str, str]:
    """The properties of an image that is being imported to these stores, of which some failed."""
    return {
        **without_message(image),
        IMPORTING: ",".join(importing),
        FAILED: ",".join(failed),
    }


def with_failure(
    image: Image, *, failed: Sequence[str], error: errors.Error, says_why: bool
) -> dict[str, str]:
    """The properties of an image whose import to these stores has failed."""
    message = {MESSAGE: str(error)[:_MAX_MESSAGE_CHARACTERS]} if says_why else {}
    return {**with_progress(image, failed=failed), **message}


def without_message(image: Image) -> dict[str, str]:
    """The properties of an image, without the reason of an earlier failure."""
    return {name: text for name, text in image.properties.items() if name != MESSAGE}


class ProgressTap:
    """A tap that reports the bytes of one body, or of several in a row.

    ``done`` and ``total`` are bytes; ``total`` is None while it is unknown.
    """

    def __init__(self, report: Callable[[int, int | None], object], total: int | None) -> None:
        """``report(done, total)`` is called after each chunk."""
        self._report = report
        #: Bytes that were read and converted before the first store gets any.
        self.prepared = 0
        self.done = 0
        self.total = total

    def feed(self, chunk: bytes) -> None:
        self.done += len(chunk)
        self._report(self.done, self.total)

    def prepare(self, done: int, total: int) -> None:
        """Report bytes of the conversion, which comes before the stores."""
        self.prepared = self.done = done
        self.total = total
        self._report(done, total)

    def finish(self) -> None:
        pass
