"""The list of all options."""

import datetime

import pytest
from oslo_config import generator

from imsgate import config, model, opts, profiles
from imsgate.api import imports, locations
from imsgate.filters import base
from imsgate.records.settings import ApiSettings, FormatSettings
from imsgate.registry import sql
from imsgate.registry.loader import RegistrySettings
from imsgate.stores import loader
from imsgate.transfer import settings as transfer_settings

LISTED = [(group, option) for group, options in opts.list_opts() for option in options]


def filters(kind=base.Filter):
    for sub in kind.__subclasses__():
        if sub.__module__.startswith("imsgate."):
            yield from filters(sub)
            if hasattr(sub, "NAME"):
                yield sub


DECLARED = {
    "DEFAULT": [
        *config.OPTS,
        *loader.OPTS,
        *imports.ImportSettings.OPTS,
        *locations.SecureHashSettings.OPTS,
    ],
    "glance_store": loader.DEFAULT_OPTS,
    transfer_settings.GROUP: transfer_settings.OPTS,
    profiles.GROUP: profiles.OPTS,
    **{
        settings.GROUP: settings.OPTS
        for settings in (
            ApiSettings,
            FormatSettings,
            locations.LocationSettings,
            RegistrySettings,
        )
    },
    "database": sql.SqlRegistry.OPTS,
    **{kind.NAME: kind.OPTS for kind in filters()},
}


@pytest.mark.parametrize("group", DECLARED)
def test_every_declared_option_is_listed(group):
    listed = {option.dest for name, option in LISTED if name == group}
    assert {option.dest for option in DECLARED[group]} <= listed


@pytest.mark.parametrize(("group", "option"), LISTED, ids=lambda part: getattr(part, "name", part))
def test_every_option_is_documented(group, option):
    assert option.help
    assert option.help.endswith((".", ";", ")"))


def test_no_option_is_listed_twice():
    names = [(group, option.dest) for group, option in LISTED]
    assert len(names) == len(set(names))


def test_the_generator_finds_them():
    found = [group or "DEFAULT" for group, _ in dict(generator._list_opts(["imsgate"]))["imsgate"]]
    assert set(found) == {group for group, _ in opts.list_opts()}


@pytest.mark.parametrize("place", [("upload", "lease"), ("jobs", "lease"), ("jobs", "keep")])
def test_times_that_are_added_to_now_have_a_date(place):
    """Longer ones were accepted, and failed an upload, or every sweep, in the end."""
    [option] = [option for group, option in LISTED if (group, option.dest) == place]
    for sign in (-1, 1):
        assert model.now() + sign * datetime.timedelta(seconds=option.type.max)
