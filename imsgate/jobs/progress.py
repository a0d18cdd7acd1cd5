"""How far a job is: bytes, and the stores that an import still has to fill."""

from collections.abc import Callable, Sequence

from imsgate.model import Image

#: Properties with store ids, separated by commas, as in Glance.
IMPORTING, FAILED = "os_glance_importing_to_stores", "os_glance_failed_import"


def with_progress(
    image: Image, *, importing: Sequence[str] = (), failed: Sequence[str] = ()
) -> dict[str, str]:
    """The properties of an image that is being imported to these stores, of which some failed."""
    return {**image.properties, IMPORTING: ",".join(importing), FAILED: ",".join(failed)}


class ProgressTap:
    """A tap that reports the bytes of one body, or of several in a row.

    ``done`` and ``total`` are bytes; ``total`` is None while it is unknown.
    """

    def __init__(self, report: Callable[[int, int | None], object], total: int | None) -> None:
        """``report(done, total)`` is called after each chunk."""
        self._report = report
        self.done = 0
        self.total = total

    def feed(self, chunk: bytes) -> None:
        self.done += len(chunk)
        self._report(self.done, self.total)

    def finish(self) -> None:
        pass
