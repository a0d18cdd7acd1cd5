"""Objects that a storage service copies itself, and that are then read from the copy.

The bytes that are checked and digested are those that the store holds, whatever happens to the
source in the meantime.
"""

import logging
from collections.abc import Callable

from imsgate import errors
from imsgate.sources.base import ByteStream
from imsgate.stores.base import Copies, CopySource, Sink, Store

LOG = logging.getLogger(__name__)


def copy_by_service(
    store: Store,
    key: str,
    source: CopySource,
    size: int,
    *,
    check: Callable[[], object],
    renew: Callable[[], object],
) -> "tuple[CommittedSink, ByteStream] | None":
    """Have the service of ``store`` copy an object of ``size`` bytes.

    Returns a sink that only has to be committed, and the data of the copy; None if the service
    does not copy the object. ``check`` may raise to stop the copy, as may ``renew``, which is
    called before it is committed. Raises as ``Copies.copy`` and ``Store.read`` do.
    """
    sink = store.copy(key, source, size, check) if isinstance(store, Copies) else None
    if sink is None:
        return None
    with sink:
        renew()  # what was begun before another worker took over is not committed
        location = sink.commit()
    try:
        stream = ByteStream.of(store.read(location))
    except errors.ObjectNotFound:
        problem = "the copy was discarded"
        raise errors.StoreUnavailable(store=store.name, problem=problem) from None
    return CommittedSink(store, key, location), stream


class CommittedSink(Sink):
    """The sink of an object that the store has copied already. The data that is written to it was
    read from there, and is dropped."""

    def __init__(self, store: Store, key: str, location: str) -> None:
        self._store = store
        self._key = key
        self._location = location
        self._committed = False

    def write(self, chunk: bytes) -> None:
        pass

    def commit(self) -> str:
        self._committed = True
        return self._location

    def abort(self) -> None:
        if self._committed:
            return
        try:
            self._store.discard(self._key)
        except errors.Error as error:
            LOG.warning("attempt %s was aborted but not removed: %s", self._key, error)
