"""Checks at start, before anything is written, that each store is still where it was.

A volume that was not mounted leaves an empty directory in its place. A store that began to use it
would answer that all its images are gone, and would fill the wrong disk.
"""

import functools
import itertools
import logging
from collections.abc import Iterator

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.model import Image, Location
from imsgate.registry.base import Query, Registry
from imsgate.stores.base import Store
from imsgate.stores.enabled import Stores

LOG = logging.getLogger(__name__)

#: Objects that are looked for in an unmarked place.
_LOOKED_FOR = 100
_PAGE = 500


def check(registry: Registry, stores: Stores) -> None:
    """Mark the place of each store, unless it seems to be a wrong one; raises BadConfig then.

    A place is right if it has the store's mark, if no record refers to an object in the store, or
    if one of these objects is found there. Optional stores are checked when they start.
    """
    stores.vet(functools.partial(_check, registry))


def _check(registry: Registry, store: Store) -> None:
    if store.unmarked() is not None:
        require_right_place(registry, store)
        mark(store)


def require_right_place(registry: Registry, store: Store) -> None:
    """Raises BadConfig if ``check`` would refuse this store. Changes nothing."""
    option = store.unmarked()
    if option is None:
        return
    try:
        recorded = list(itertools.islice(_recorded(registry, store.name), _LOOKED_FOR))
        if recorded and not any(_is_there(store, location) for location in recorded):
            raise BadConfig(
                option,
                f"there are records of images in the store {store.name!r}, but none of these "
                "images is here: is its volume mounted? If this place is to be used from now on, "
                f"run 'imsgate stores adopt {store.name}'",
            )
    except errors.Unavailable as error:
        problem = f"it is new, and the records of its images cannot be read: {error}"
        raise BadConfig(option, problem) from error


def mark(store: Store) -> None:
    """Mark the place of a store. It can also be used without a mark, so a failure is logged."""
    try:
        store.mark()
    except errors.Error as error:
        LOG.warning("The place of store %s was not marked: %s", store.name, error)


def _recorded(registry: Registry, store_id: str) -> Iterator[Location]:
    """The objects in a store to which records refer."""
    images = itertools.chain(_listed(registry), registry.expired(0.0))
    return (place for image in images for place in image.locations if place.store == store_id)


def _listed(registry: Registry) -> Iterator[Image]:
    marker = None
    while page := registry.list(Query(admin=True, marker=marker, limit=_PAGE)):
        yield from page
        marker = page[-1]


def _is_there(store: Store, location: Location) -> bool:
    try:
        store.size(location.url)
    except (errors.ObjectNotFound, errors.StoreUnavailable):
        return False
    return True
