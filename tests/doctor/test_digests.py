"""Image data that is read and compared, on real files and SQLite."""

import hashlib
import random

import pytest

from imsgate.doctor import digests
from imsgate.doctor.installation import Sample
from imsgate.model import Location, Status
from imsgate.testing.records import image
from tests.doctor.conftest import wrong

BODY = b"image"
STORES = (
    "[DEFAULT]\nenabled_backends = near:file, far:file\n[glance_store]\ndefault_backend = near\n"
    "[near]\nfilesystem_store_datadir = {place}/near\n"
    "[far]\nfilesystem_store_datadir = {place}/far\n"
)


@pytest.fixture
def installation(install):
    return install(STORES)


@pytest.fixture
def add(installation, place):
    """Record an active image with a copy in each store; return the paths of the copies."""

    def add():
        record = image()
        places = []
        for backend in installation.backends:
            with backend.store.create(f"{record.id}.1", len(BODY)) as sink:
                sink.write(BODY)
                places.append(Location(backend.id, sink.commit()))
        fields = {
            "status": Status.ACTIVE,
            "size": len(BODY),
            "os_hash_algo": "sha256",
            "os_hash_value": hashlib.sha256(BODY).hexdigest(),
            "locations": tuple(places),
        }
        installation.registry.add(image(**{**vars(record), **fields}))
        return [place / each.store / each.url for each in places]

    return add


def found(installation, number=None):
    installation.sample = Sample(number, None)
    return list(digests.check(installation))


def test_nothing_is_read_unless_asked_for(installation, add):
    for path in add():
        path.write_bytes(b"imagf")
    (finding,) = digests.check(installation)
    assert (finding.check, finding.severity) == ("digests", "skipped")


def test_good_copies(installation, add):
    add()
    (finding,) = found(installation)
    assert finding.severity == "ok"
    assert finding.message == "2 good copies; 10 bytes read."


def test_a_damaged_copy(installation, add):
    add()
    near, _ = add()
    near.write_bytes(b"imagf")
    findings = found(installation)
    assert wrong(findings) == [("digests.near", "error")]
    where = "1 copy in the store 'near' with other data than recorded"
    assert f"{where}: {near.name[:36]}: its sha256" in findings[0].message
    # Only `imsgate verify` records what it finds.
    assert installation.registry.damaged_copies() == []


def test_many_damaged_copies_are_counted(installation, add):
    for _ in range(7):
        near, _ = add()
        near.write_bytes(b"imagf")
    message = found(installation)[0].message
    assert message.startswith("7 copies in the store 'near'")
    assert message.count("its sha256") == 5


def test_a_store_that_is_away_is_no_damage(installation, add, place):
    for backend in installation.backends:
        backend.store.mark()
    add()
    (place / "near").rename(place / "elsewhere")
    (place / "near").mkdir()
    assert wrong(found(installation)) == [("digests.near", "warning")]


def test_a_sample(installation, add):
    for _ in range(3):
        add()
    assert found(installation, 2)[0].message.startswith("2 good copies")
    assert found(installation, 100)[0].message.startswith("6 good copies")


def test_a_sample_is_chosen_at_random(monkeypatch):
    monkeypatch.setattr(digests, "random", random.Random(1))
    picked = [tuple(digests.chosen(range(5), 2)) for _ in range(1000)]
    counts = [sum(number in sample for sample in picked) for number in range(5)]
    assert all(350 < count < 450 for count in counts), counts
