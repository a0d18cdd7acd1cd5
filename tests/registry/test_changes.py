"""Read, decide, write: what happens when another request changes the record in between."""

import pytest

from imsgate import errors
from imsgate.model import Status
from imsgate.registry import changes
from imsgate.registry.changes import read_decide_write, version_of
from imsgate.registry.memory import MemoryRegistry
from imsgate.testing.records import image


@pytest.fixture
def registry():
    return MemoryRegistry()


@pytest.fixture
def record(registry):
    record = image()
    registry.add(record)
    return record


def change(registry, image_id, decide):
    def write(image, fields):
        return registry.change(image.id, version_of(image), **fields)

    return read_decide_write(lambda: registry.get(image_id), decide, write)


@pytest.mark.parametrize("others", [0, 1, changes.ATTEMPTS - 1, changes.ATTEMPTS])
def test_decides_again_after_another_change(registry, record, others):
    remaining = iter(range(others))

    def decide(image):
        for number in remaining:
            registry.change(image.id, {}, properties={"count": str(number + 1)})
            break
        return {"name": image.properties.get("count", "0")}

    if others == changes.ATTEMPTS:
        with pytest.raises(errors.Conflict, match="changed by others"):
            change(registry, record.id, decide)
    else:
        assert change(registry, record.id, decide).name == str(others)


def test_refusal_by_the_decision_is_not_repeated(registry, record):
    decisions = []

    def decide(image):
        decisions.append(image)
        image.require(Status.ACTIVE)

    with pytest.raises(errors.WrongStatus):
        change(registry, record.id, decide)
    assert decisions == [record]
