"""The tests that every filter must pass.

The test of a filter is a subclass that names the filter's factory, and what it needs to pass a
request on::

    class TestSizeLimit(FilterContract):
        @pytest.fixture
        def factory(self):
            return sizelimit.filter_factory

        def settings(self):
            return {"image_size_cap": str(self.SIZE)}

Nearly all checks run with ``wsgiref.validate`` on both sides of the filter.
"""

from imsgate.testing.filters.bodies import BodyChecks
from imsgate.testing.filters.isolation import IsolationChecks
from imsgate.testing.filters.options import OptionChecks
from imsgate.testing.filters.refusals import RefusalChecks
from imsgate.testing.filters.requests import RequestChecks
from imsgate.testing.filters.responses import ResponseChecks

__all__ = ["FilterContract"]


class FilterContract(
    RequestChecks, ResponseChecks, IsolationChecks, RefusalChecks, BodyChecks, OptionChecks
):
    """A filter changes nothing about a request and its response, unless it refuses."""
