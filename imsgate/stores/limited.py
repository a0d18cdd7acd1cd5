"""Another driver's store at a limited speed, so that images leave room for other traffic.

::

    enabled_backends = archive:limited
    [archive]
    limited_driver = s3
    limited_write_rate = 200
    s3_store_bucket = …

The wrapped driver's own options stand in the same section. Its files and URLs are
not handed out: what went round this store would go round the limit.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from oslo_config import cfg

from imsgate import plugins
from imsgate.errors import BadConfig
from imsgate.stores import loader
from imsgate.stores.base import Sink, Store, Sweeps, Swept

_MIB = 1 << 20


class Throttle:
    """So many bytes a second, shared by all threads of a process."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``rate`` is in MiB a second; None is without limit."""
        self._rate = rate and rate * _MIB
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = 0.0

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may pass."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock()
            begin = max(now, self._free)
            self._free = begin + count / self._rate
        if begin > now:
            self._sleep(begin - now)


class LimitedStore(Store, Sweeps):
    """A store of the driver ``limited_driver``, slowed down."""

    OPTS = (
        cfg.StrOpt(
            "limited_driver",
            help="The driver whose store this is; its own options stand in this section too.",
        ),
        cfg.FloatOpt(
            "limited_write_rate",
            min=0.001,
            help="MiB a second that each process writes at most, all uploads together; "
            "without it, as fast as it goes.",
        ),
        cfg.FloatOpt(
            "limited_read_rate",
            min=0.001,
            help="MiB a second that each process reads at most, all downloads together; "
            "without it, as fast as it goes.",
        ),
    )

    @classmethod
    def further_opts(cls, name: str, settings: Any) -> Sequence[cfg.Opt]:
        kind = _wrapped(name, settings)
        if all(hasattr(settings, opt.dest) for opt in kind.OPTS):
            return kind.further_opts(name, settings)
        return kind.OPTS

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self._store = _wrapped(name, settings)(name, settings)
        self._reading = Throttle(settings.limited_read_rate)
        self._writing = Throttle(settings.limited_write_rate)

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

    def place(self) -> Hashable:
        return self._store.place()

    def properties(self) -> Mapping[str, Any]:
        rates = {opt.name: getattr(self.settings, opt.dest) for opt in self.OPTS}
        told = {name: value for name, value in rates.items() if value is not None}
        return {**self._store.properties(), **told}

    def sweep(self, age: float, living: Callable[[str], bool]) -> Swept:
        """What the wrapped store finds; nothing where it cannot look."""
        if isinstance(self._store, Sweeps):
            return self._store.sweep(age, living)
        return Swept(0, 0)


def _wrapped(name: str, settings: Any) -> type[Store]:
    """Raises BadConfig."""
    key = f"[{name}] limited_driver"
    if not settings.limited_driver:
        raise BadConfig(key, "name the driver whose store is to be limited")
    kind: type[Store] = plugins.find(loader.NAMESPACE, settings.limited_driver, key)
    if issubclass(kind, LimitedStore):
        raise BadConfig(key, "a limited store cannot be limited again")
    return kind


class _LimitedSink(Sink):
    def __init__(self, sink: Sink, pace: Throttle) -> None:
        self._sink = sink
        self._pace = pace

    def write(self, chunk: bytes) -> None:
        self._pace.take(len(chunk))
        self._sink.write(chunk)

    def commit(self) -> str:
        return self._sink.commit()

    def abort(self) -> None:
        self._sink.abort()


class _LimitedReader(Iterator[bytes]):
    def __init__(self, chunks: Iterator[bytes], pace: Throttle) -> None:
        self._chunks = chunks
        self._pace = pace

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._pace.take(len(chunk))
        return chunk

    def close(self) -> None:
        self._chunks.close()  # type: ignore[attr-defined]  # a promise of the contract
