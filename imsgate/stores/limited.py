"""Limit the speed of another driver's store, so that images leave bandwidth for other traffic.

::

    enabled_backends = archive:limited
    [archive]
    limited_driver = s3
    limited_write_rate = 200
    s3_store_bucket = …

The same section contains the options of the wrapped driver. This store has none of the abilities
``LocalFiles``, ``DirectUrls``, ``Addressed`` and ``Copies``, because such transfers would bypass
the limit. It is ``Resumable`` if the wrapped store is.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Self

from oslo_config import cfg

from imsgate import plugins
from imsgate.config import Section
from imsgate.errors import BadConfig
from imsgate.settings import Settings
from imsgate.stores import loader
from imsgate.stores.base import Resumable, ResumableSink, Room, Sink, Store, Sweeps, Swept
from imsgate.stores.throttle import Throttle

OPTS = (
    cfg.StrOpt(
        "limited_driver",
        help="The driver of the store whose speed is limited. Set its options in this section too.",
    ),
    cfg.FloatOpt(
        "limited_write_rate",
        min=0.001,
        help="Maximum write rate of each process in MiB/s, for all uploads together. "
        "If unset, there is no limit.",
    ),
    cfg.FloatOpt(
        "limited_read_rate",
        min=0.001,
        help="Maximum read rate of each process in MiB/s, for all downloads together. "
        "If unset, there is no limit.",
    ),
)


class LimitedSettings(Settings, group="limited", opts=OPTS):
    """The options of one limited store, except the wrapped driver's."""

    limited_driver: str | None
    limited_write_rate: float | None
    limited_read_rate: float | None


class LimitedStore(Store, Sweeps):
    """A store of the driver ``limited_driver`` with limited transfer rates."""

    OPTS = OPTS

    @classmethod
    def further_opts(cls, name: str, settings: Section) -> Sequence[cfg.Opt]:
        kind = _wrapped(name, settings)
        if all(hasattr(settings, opt.dest) for opt in kind.OPTS):
            return kind.further_opts(name, settings)
        return kind.OPTS

    def __new__(cls, name: str, settings: Section) -> Self:
        """A ResumableLimitedStore if the wrapped driver is Resumable."""
        kind: type = cls
        if issubclass(_wrapped(name, settings), Resumable):
            kind = ResumableLimitedStore
        made: Self = super().__new__(kind)
        return made

    def __init__(self, name: str, settings: Section) -> None:
        super().__init__(name, settings)
        self._options = LimitedSettings.of(settings)
        self._store = _wrapped(name, settings)(name, settings)
        self._reading = Throttle(self._options.limited_read_rate)
        self._writing = Throttle(self._options.limited_write_rate)

    def create(self, key: str, size: int | None) -> Sink:
        return _LimitedSink(self._store.create(key, size), self._writing)

    def read(self, location: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        return _LimitedReader(self._store.read(location, offset, length), self._reading)

    def size(self, location: str) -> int:
        return self._store.size(location)

    def delete(self, location: str) -> None:
        self._store.delete(location)

    def discard(self, key: str) -> None:
        self._store.discard(key)

    def check(self) -> None:
        self._store.check()

    def free_space(self) -> int | None:
        return self._store.free_space()

    def room(self) -> Room:
        return self._store.room()

    @property
    def read_only(self) -> bool:
        return self._store.read_only

    def unmarked(self) -> str | None:
        return self._store.unmarked()

    def mark(self) -> None:
        self._store.mark()

    def place(self) -> Hashable:
        return self._store.place()

    def properties(self) -> Mapping[str, Any]:
        own = {opt.name: getattr(self._options, opt.dest) for opt in OPTS}
        configured = {name: value for name, value in own.items() if value is not None}
        return {**self._store.properties(), **configured}

    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        """Sweep the wrapped store; does nothing if its driver cannot sweep."""
        if isinstance(self._store, Sweeps):
            return self._store.sweep(age, living)
        return Swept(0, 0)

    def sweep_objects(self, orphaned: Callable[[str], bool]) -> Swept:
        """See ``sweep``."""
        if isinstance(self._store, Sweeps):
            return self._store.sweep_objects(orphaned)
        return Swept(0, 0)


class ResumableLimitedStore(LimitedStore, Resumable):
    """A limited store whose attempts can be suspended."""

    _store: Any

    def begin(self, key: str, size: int | None, epoch: int) -> ResumableSink:
        sink: ResumableSink = self._store.begin(key, size, epoch)
        return _ResumableLimitedSink(sink, self._writing)

    def durable(self, key: str, size: int | None, epoch: int) -> int:
        count: int = self._store.durable(key, size, epoch)
        return count

    def resume(self, key: str, size: int | None, offset: int, epoch: int) -> ResumableSink:
        sink: ResumableSink = self._store.resume(key, size, offset, epoch)
        return _ResumableLimitedSink(sink, self._writing)


def _wrapped(name: str, settings: Section) -> type[Store]:
    """The wrapped driver. Raises BadConfig."""
    key = f"[{name}] limited_driver"
    driver = LimitedSettings.of(settings).limited_driver
    if not driver:
        raise BadConfig(key, "must name the driver of the store to limit")
    kind: type[Store] = plugins.find(loader.NAMESPACE, driver, key)
    if issubclass(kind, LimitedStore):
        raise BadConfig(key, "a limited store cannot wrap another limited store")
    return kind


class _LimitedSink(Sink):
    def __init__(self, sink: Sink, throttle: Throttle) -> None:
        self._sink = sink
        self._throttle = throttle

    def write(self, chunk: bytes) -> None:
        self._throttle.take(len(chunk))
        self._sink.write(chunk)

    def commit(self) -> str:
        return self._sink.commit()

    def abort(self) -> None:
        self._sink.abort()


class _ResumableLimitedSink(_LimitedSink, ResumableSink):
    def __init__(self, sink: ResumableSink, throttle: Throttle) -> None:
        super().__init__(sink, throttle)
        self._resumable = sink

    def suspend(self) -> int:
        return self._resumable.suspend()


class _LimitedReader(Iterator[bytes]):
    def __init__(self, chunks: Iterator[bytes], throttle: Throttle) -> None:
        self._chunks = chunks
        self._throttle = throttle

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._throttle.take(len(chunk))
        return chunk

    def close(self) -> None:
        self._chunks.close()  # type: ignore[attr-defined]  # the store contract promises it
