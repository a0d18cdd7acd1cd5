"""Stores: unknown, full, unavailable, or without the object."""

from imsgate.errors.base import BadRequest, Error, Unavailable


class UnknownStore(BadRequest):
    reason = "unknown_store"
    message = "There is no store {store!r}; choose one of: {stores}"


class StoreReadOnly(BadRequest):
    reason = "store_read_only"
    message = "Store {store!r} is read-only"


class StoreFull(Error):
    status, reason = 413, "store_full"
    code = "IMG.0014"
    message = "Store {store!r} has no space left for this image"
    needs_operator = True


class StoreUnavailable(Unavailable):
    reason = "store_unavailable"
    message = "Store {store!r} is not available now: {problem}"
    needs_operator = True


class Fenced(StoreUnavailable):
    """Another request has taken over the attempt that this one was writing."""

    needs_operator = False


class StoreDenied(StoreUnavailable):
    reason = "store_denied"
    message = "Store {store!r} denies access to this gateway: {problem}"


class ObjectNotFound(Exception):
    """A store has no object at this location. The caller decides what that means."""
