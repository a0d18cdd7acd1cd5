"""The table of import methods."""

import pytest

from imsgate.api.imports import OPTS
from imsgate.auth.policy import list_rules
from imsgate.jobs.methods import DEFAULT_METHODS, GLANCE_METHODS, METHODS
from imsgate.model import Status
from imsgate.testing.records import image

EACH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@EACH
def test_rule_exists(method):
    assert method.rule in {rule.name for rule in list_rules()}


@EACH
def test_only_a_copy_leaves_the_status(method):
    assert (method.during == method.requires) is (method.open is None)


@pytest.mark.parametrize("stores", [1, 3])
@EACH
def test_reservation_is_for_every_copy_once_the_size_is_known(method, stores):
    known = method.requires in (Status.UPLOADING, Status.ACTIVE)
    assert method.reservation(image(size=100), stores) == (100 * stores if known else 1)


def test_operators_choose_from_the_methods_of_glance():
    assert OPTS[0].default == list(DEFAULT_METHODS)
    assert set(DEFAULT_METHODS) < set(GLANCE_METHODS) < set(METHODS)
