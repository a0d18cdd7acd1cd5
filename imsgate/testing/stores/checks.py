"""What all checks of the store kit share: what a driver's author provides, and helpers."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar

import pytest

from imsgate import errors
from imsgate.errors import ObjectNotFound
from imsgate.stores.base import LocalFiles, Store
from imsgate.testing import summary
from imsgate.testing.stores import hooks
from imsgate.testing.stores.budget import Budget
from imsgate.testing.stores.data import MIB, new_key, pieces
from imsgate.testing.stores.limits import Alarm
from imsgate.testing.stores.reported import assert_reported

_KIT = "imsgate.testing.stores"

#: What a failed write or commit raises. StoreDenied is a StoreUnavailable.
REPORTED = (errors.StoreFull, errors.StoreUnavailable)


class StoreChecks:
    """The hooks that a driver's tests override, and helpers for the checks.

    ``store`` and ``leftovers`` are required, the others optional.
    """

    #: Size in bytes of the driver's parts, blocks or chunks; sizes around it are tested.
    PART: ClassVar[int] = MIB

    #: Number of random call sequences to compare with the memory store, and to cut at random. The
    #: environment variable IMSGATE_TEST_SEQUENCES overrides it: try 1000 before a release.
    SEQUENCES: ClassVar[int] = 25

    #: Seconds after which these checks try no further sequence; 0 means no limit. The environment
    #: variable IMSGATE_TEST_SECONDS overrides it.
    SECONDS: ClassVar[float] = 60.0

    #: Whether the service behind the store cannot refuse to replace an object.
    OVERWRITES: ClassVar[bool] = False

    #: Seconds after which a check fails that has not ended, because the driver waits forever.
    TIMEOUT: ClassVar[float] = 300.0

    @pytest.fixture
    def store(self) -> Any:
        """An empty store."""
        raise NotImplementedError("the subclass must define a fixture named store")

    @pytest.fixture
    def small_store(self) -> Any:
        """A store with room for a few hundred KiB at most, to test a full store."""
        raise self.not_given("small_store")

    def leftovers(self, store: Store) -> Collection[Any]:
        """Everything in ``store``, objects and remains of attempts, found without the driver."""
        raise NotImplementedError("the subclass must define leftovers")

    def private(self, store: Store) -> Collection[str]:
        """Texts that no error may contain, such as credentials and directories."""
        return ()

    def again(self, store: Store) -> Store:
        """The same store as another process would build it."""
        return store.__class__(store.name, store.settings)

    @pytest.fixture
    def twin(self, store: Store) -> Iterator[Store]:
        """The result of ``again``; closed after the test if it has ``close``."""
        made = self.again(store)
        yield made
        if made is not store and hasattr(made, "close"):
            made.close()

    def is_given(self, hook: str) -> bool:
        """Whether the driver's tests define this hook."""
        kinds = [kind for kind in type(self).__mro__ if hook in vars(kind)]
        return bool(kinds) and not kinds[0].__module__.startswith(_KIT)

    def not_given(self, hook: str) -> BaseException:
        """What a hook raises that the driver's tests do not define: the check is skipped."""
        return pytest.skip.Exception(f"this driver's tests do not define {hook}")

    def check_error(self, store: Store, error: BaseException, call: str) -> None:
        """Fails unless ``error``, raised by ``call``, names the store and reveals nothing."""
        # The caller knows the location that may be in an ObjectNotFound.
        paths = isinstance(error, errors.Error)
        assert_reported(error, store.name, self.private(store), call, paths=paths)

    def budget(self) -> Budget:
        """How many random sequences to try."""
        return Budget.of(self.SEQUENCES, self.SECONDS, self._alarm.start)

    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, store: Store, request: pytest.FixtureRequest) -> Iterator[None]:
        missing = {k: v for k, v in hooks.unchecked(store).items() if not self.is_given(k)}
        summary.note(request.config, type(self).__qualname__, missing, hooks.SOURCES)
        self._stored: list[tuple[Store, str]] = []
        with Alarm(self.TIMEOUT).set() as self._alarm:
            yield
            self._alarm.start()
            for owner, location in self._stored:
                owner.delete(location)
            self.assert_empty(store, "after all objects were deleted")

    def keep(self, store: Store, location: str) -> str:
        """Have an object deleted at the end of the test; returns ``location``."""
        self._stored.append((store, location))
        return location

    def put(
        self,
        store: Store,
        data: bytes,
        *,
        key: str | None = None,
        size: int | None = None,
        chunk: int = MIB,
    ) -> str:
        """Store ``data`` in chunks of ``chunk`` bytes and return its location."""
        with store.create(key or new_key(), size) as sink:
            for piece in pieces(data, chunk):
                sink.write(piece)
            return sink.commit()

    def assert_empty(self, store: Store, when: str) -> None:
        """Fails if anything is in the store."""
        remains = self.leftovers(store)
        assert not remains, f"{when}, the store must be empty; it contains {list(remains)[:10]}"


def assert_missing(store: Store, location: str, why: str) -> list[ObjectNotFound]:
    """Fails unless read, size, delete and open all raise ObjectNotFound at the call.

    Returns what they raised.
    """
    calls: list[Callable[[str], Any]] = [store.read, store.size, store.delete]
    if isinstance(store, LocalFiles):
        calls.append(store.open)
    return [_raised(call, location, why) for call in calls]


def _raised(call: Callable[[str], Any], location: str, why: str) -> ObjectNotFound:
    try:
        result = call(location)
    except ObjectNotFound as error:
        return error
    closing = contextlib.closing(result) if hasattr(result, "close") else None
    with closing or contextlib.nullcontext():
        name = getattr(call, "__name__", call)
        problem = f"{name} must raise ObjectNotFound at the call, because {why}"
        pytest.fail(f"{problem}; it returned {result!r}")


def assert_full(error: errors.StoreFull, store: Store) -> None:
    """Fails unless the error names the store and nothing else."""
    expected = {"store": store.name}
    assert error.details == expected, (
        f"StoreFull must have the details {expected}, not {error.details}"
    )


def open_descriptors() -> int:
    """The number of files and sockets that this process has open."""
    if not os.path.isdir("/dev/fd"):
        pytest.skip("this system does not list open file descriptors")
    return len(os.listdir("/dev/fd"))
