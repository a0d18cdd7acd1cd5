"""The options of a filter."""

from typing import Any

import pytest

from imsgate.errors import BadConfig
from imsgate.testing import apps
from imsgate.testing.filters.base import FilterChecks


class OptionChecks(FilterChecks):
    """Unknown options are errors, known ones are documented."""

    def test_an_unknown_option_is_refused(self, factory: Any, global_conf: Any) -> None:
        with pytest.raises(BadConfig) as caught:
            factory(dict(global_conf), **self.settings(), no_such_option="1")(apps.App())
        assert "no_such_option" in caught.value.key

    def test_every_option_is_documented(self, build: Any) -> None:
        for option in self.kind.OPTS:
            assert option.help, option.name

    def test_every_option_is_in_the_sample(self, build: Any) -> None:
        listed = {(group, option.dest) for group, options in self.options() for option in options}
        assert {(self.kind.NAME, option.dest) for option in self.kind.OPTS} <= listed
