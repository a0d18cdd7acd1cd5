"""Private parts of oslo.log that imsgate/telemetry/logs.py uses.

If a test fails after an upgrade of oslo.log, compare that module with the new release. Then change
the range below. What the module does is tested in tests/test_config.py and test_config_reload.py.
"""

import importlib.metadata

import pytest
from oslo_config import cfg
from oslo_log import _options, formatters, log

from imsgate.telemetry import logs

#: Verified with this release and with later ones up to this one.
BOUND = (9,)


def test_the_installed_release_has_been_verified():
    version = importlib.metadata.version("oslo.log")
    assert tuple(int(part) for part in version.split(".")[:1]) < BOUND, __doc__


def test_names_that_we_use():
    assert formatters._get_error_summary, __doc__
    assert "default_log_levels" in {option.dest for option in _options.log_opts}, __doc__


def test_levels_of_loggers_and_what_oslo_log_itself_changes_need_no_restart():
    mutable = {option.dest for option in logs.opts() if option.mutable}
    assert mutable == {"debug", "log_config_append", "default_log_levels"}, __doc__


def test_options_can_be_registered_after_the_command_line_was_read():
    conf = cfg.ConfigOpts()
    conf([])
    conf.register_opts(logs.opts())
    assert conf.debug is False


@pytest.mark.parametrize("pair", ["a", "a=", "a=LOUD", "a=-1", "a=1.5", "a=²"])
def test_an_invalid_level(pair):
    with pytest.raises(ValueError, match="has no level"):
        logs.parse_levels(["b=INFO", pair])


def test_levels():
    assert logs.parse_levels(["a=INFO", "b.c=WARN", "d=5"]) == {"a": 20, "b.c": 30, "d": 5}
    assert logs.parse_levels(log.get_default_log_levels())
