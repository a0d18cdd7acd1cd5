"""What the subclass of a filter's test provides, and helpers for all checks."""

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar
from wsgiref.validate import validator

import pytest

from imsgate.testing import apps, servers
from imsgate.testing.servers import Environ


def body(size: int, seed: str = "") -> bytes:
    """``size`` random bytes, some of them line ends; the same ones for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


class FilterChecks:
    """The parameters of the checks. Subclasses override them as needed."""

    #: The length of the bodies in bytes. Configure a filter that limits bodies with exactly this
    #: limit; the bodies of several requests together are longer.
    SIZE: ClassVar[int] = 3000

    #: Entries of the environ, such as HTTP_X_ROLES, that the filter changes or removes on purpose.
    changes: ClassVar[frozenset[str]] = frozenset()

    #: Response headers that the filter adds to every response, in lower case.
    adds: ClassVar[frozenset[str]] = frozenset()

    #: Whether the filter makes the response if the application fails.
    answers_failures: ClassVar[bool] = False

    # What a subclass provides.

    @pytest.fixture
    def factory(self) -> Callable[..., Any]:
        """The filter's ``paste.filter_factory``."""
        raise NotImplementedError("the filter's paste.filter_factory")

    @pytest.fixture
    def global_conf(self, tmp_path: Any) -> Mapping[str, str]:
        """Paste's global section."""
        return {"state_path": str(tmp_path)}

    def settings(self) -> Mapping[str, str]:
        """Keys of the filter in the Paste file."""
        return {}

    def passing(self) -> Mapping[str, Any]:
        """Environ entries of a request that the filter passes on with any body."""
        return {
            "REQUEST_METHOD": "PUT",
            "PATH_INFO": "/v2/images/71c675ab-d94f-49cd-a114-e12490b328d9/file",
            "CONTENT_TYPE": "application/octet-stream",
        }

    def refused(self) -> Mapping[str, Any] | None:
        """Entries that, added to ``passing``, make it refuse at once; None if it never does."""
        return None

    def refused_body(self) -> bytes | None:
        """A body that the filter refuses while the application reads it; None if it never does."""
        return None

    def private(self) -> Iterable[str]:
        """Texts that no refusal may contain, such as secrets in the settings."""
        return ()

    def options(self) -> Iterable[tuple[str | None, Iterable[Any]]]:
        """Groups and options that ``oslo-config-generator`` finds in the filter's distribution.

        By default those of the ``oslo.config.opts`` entry points of the filter's top package.
        """
        package = self.kind.__module__.partition(".")[0]
        for point in importlib.metadata.entry_points(group="oslo.config.opts"):
            if point.module.partition(".")[0] == package:
                yield from point.load()()

    # Helpers of the checks.

    @pytest.fixture
    def build(self, factory: Any, global_conf: Mapping[str, str]) -> Callable[[Any], Any]:
        """Puts the filter in front of an application."""
        make = factory(dict(global_conf), **self.settings())
        self.kind = type(make(apps.App()))
        built: Callable[[Any], Any] = make
        return built

    @pytest.fixture
    def guarded(self, build: Any) -> Callable[[Any], Any]:
        """As ``build``, with ``wsgiref.validate`` between filter and application."""
        return lambda app: build(validator(app))

    def request(self, data: bytes | servers.Input = b"", **options: Any) -> Environ:
        """The environ of a request that the filter passes on; ``options`` as in servers.environ."""
        return servers.environ(data, **{**options, **self.passing()})

    def required_refusal(self) -> Mapping[str, Any]:
        """``refused``; skips the test if the filter refuses no request at once."""
        refused = self.refused()
        if refused is None:
            pytest.skip("this filter refuses no request at once")
        return refused
