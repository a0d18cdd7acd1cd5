"""The records service without HTTP: what both APIs rely on."""

import dataclasses

import pytest
from oslo_config import cfg

from imsgate import errors
from imsgate.auth.policy import Policy
from imsgate.model import Status
from imsgate.quotas import quota
from imsgate.records.access import Access
from imsgate.records.operations import Operation
from imsgate.records.records import Records
from imsgate.records.settings import ApiSettings
from imsgate.registry.base import Query
from imsgate.testing.gateways import gateway
from tests.api.people import PEOPLE

OWNER, OTHER = PEOPLE["owner"], PEOPLE["other"]


@pytest.fixture
def made():
    return gateway()


@pytest.fixture
def records(made):
    conf = cfg.ConfigOpts()
    conf(args=[], default_config_files=[], default_config_dirs=[])
    return Records(
        registry=made.registry,
        access=Access(registry=made.registry, policy=Policy(conf)),
        cleanup=made.cleanup,
        resumable=made.resumable,
        quotas=quota.NONE,
        settings=ApiSettings(),
    )


@pytest.fixture
def image(records):
    return records.add(OWNER, {"name": "first", "bus": "ide"})


def query(*, admin, maximum):
    return Query(viewer=OWNER.project_id, admin=admin, limit=min(2, maximum))


def test_new_image_belongs_to_the_project_and_has_custom_properties(records, image):
    assert records.get(OWNER, image.id) == image
    assert (image.owner, image.name, dict(image.properties)) == ("p1", "first", {"bus": "ide"})
    with pytest.raises(errors.NotFound):
        records.get(OTHER, image.id)


def test_pages_follow_one_another(records):
    ids = {records.add(OWNER, {}).id for _ in range(5)}
    listed, marker = [], None
    for _ in range(3):
        page = records.page(OWNER, query, marker)
        listed += [image.id for image in page.images]
        marker = page.next_marker
    assert marker is None
    assert (len(listed), set(listed)) == (5, ids)
    with pytest.raises(errors.BadQuery):
        records.page(OWNER, query, "nosuch")


def test_query_is_not_read_for_a_user_who_may_not_list(records):
    """A refusal comes before what may be wrong with the query."""
    nobody = dataclasses.replace(OWNER, roles=frozenset())
    with pytest.raises(errors.Forbidden):
        records.page(nobody, lambda **_: pytest.fail("read"), None)


def test_change_decides_again_when_another_request_interfered(made, records, image):
    interference = iter([{"name": "theirs"}])

    def check(seen):
        for fields in interference:
            made.registry.change(image.id, {}, **fields)

    changed = records.apply(OWNER, image.id, [Operation("remove", "bus")], check)
    assert (changed.name, dict(changed.properties)) == ("theirs", {})


def test_decision_without_fields_writes_nothing(records, image):
    assert records.change(OWNER, image.id, "modify_image", lambda image: {}) == image


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (Operation("replace", "nosuch", "x"), errors.NoSuchProperty),
        (Operation("remove", "nosuch"), errors.NoSuchProperty),
        (Operation("remove", "name"), errors.Forbidden),
        (Operation("add", "bus", "x", new=True), errors.PropertyExists),
        (Operation("add", "owner", "p2"), errors.Forbidden),
        (Operation("add", "visibility", "public"), errors.Forbidden),
    ],
)
def test_refused_operations_change_nothing(records, image, operation, error):
    with pytest.raises(error):
        records.apply(OWNER, image.id, [operation])
    assert records.get(OWNER, image.id) == image


def test_discard_needs_no_user(made, records, image):
    records.discard(image.id)
    assert made.registry.recall(image.id).status == Status.DELETED
    with pytest.raises(errors.NotFound):
        records.discard(image.id)
