"""Changes to a record that depend on what it says now: read, decide, write.

Every change is a compare-and-set on the version that was read, so of two requests at the same
time neither undoes what the other did.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from imsgate import errors
from imsgate.model import Image

T = TypeVar("T")

#: Attempts before the change is refused because others keep changing the same record.
ATTEMPTS = 20


def version_of(image: Image) -> Mapping[str, Any]:
    """The fields that identify this version of a record, to compare with in ``Registry.change``."""
    return {"status": image.status, "updated_at": image.updated_at}


def read_decide_write(
    read: Callable[[], Image],
    decide: Callable[[Image], Mapping[str, Any]],
    write: Callable[[Image, Mapping[str, Any]], T],
) -> T:
    """Return what ``write`` returns for a record that nobody changed since ``read`` returned it.

    ``read()`` returns the record as it is now. ``decide(image)`` returns the fields to change,
    possibly none. ``write(image, fields)`` stores them by compare-and-set with
    ``version_of(image)`` and raises Conflict if the record has changed in between; then all
    three are called again. Whatever ``read`` and ``decide`` raise is passed on, as is
    everything except Conflict that ``write`` raises. Raises Conflict after 20 attempts.

    For example::

        def write(image, fields):
            return registry.change(image.id, version_of(image), **fields)

        read_decide_write(lambda: registry.get(image_id), lambda image: {"name": "new"}, write)
    """
    for _ in range(ATTEMPTS):
        image = read()
        fields = decide(image)
        try:
            return write(image, fields)
        except errors.Conflict:
            continue
    raise errors.Conflict(problem=f"Image {image.id} is being changed by others; try again")
