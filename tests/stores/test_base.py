"""The module of the store contract, which plugins import."""

from imsgate.stores import base


def test_the_deprecated_name_of_copy_source_still_works():
    assert base.Origin is base.CopySource
