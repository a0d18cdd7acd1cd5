"""What a check finds in real files, records, and leaves alone."""

import hashlib
import logging
import os
import shutil

import pytest

from imsgate import errors, metrics
from imsgate.metrics import values
from imsgate.model import Damage, Location, Status
from imsgate.stores.throttle import Throttle
from imsgate.verification import checking
from imsgate.verification.checking import CheckState, longest_unchecked
from tests.verification.site import DATA, DIGESTS


def spoil(site, image):
    site.spoil(image, "one")


def truncate(site, image):
    os.truncate(site.file(image, "one"), 1000)


def lengthen(site, image):
    with site.file(image, "one").open("ab") as file:
        file.write(b"!")


def remove(site, image):
    site.file(image, "one").unlink()


def swap(site, image):
    site.file(image, "one").write_bytes(hashlib.shake_128(b"other").digest(len(DATA)))


FAULTS = {
    "flipped bit": (spoil, Damage.CONTENT, "sha512 digest"),
    "truncated": (truncate, Damage.SIZE, "it has 1000 bytes instead of 400000"),
    "longer": (lengthen, Damage.SIZE, "it has 400001 bytes instead of 400000"),
    "missing": (remove, Damage.MISSING, "the store has no such object"),
    "another object": (swap, Damage.CONTENT, "sha512 digest"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_copy(site, caplog, fault):
    spoils, damage, problem = FAULTS[fault]
    image = site.image("one", "two")
    spoils(site, image)
    with caplog.at_level(logging.INFO, checking.LOG.name):
        bad, good = site.verify(image)
    assert (bad.state, bad.damage, bad.location.store) == (CheckState.DAMAGED, damage, "one")
    assert problem in bad.problem
    assert (good.state, good.damage, good.problem) == (CheckState.GOOD, None, "")
    assert good.compared == ("size", "sha512", "md5")
    assert good.bytes == len(DATA)
    assert site.damage(image) == {"one": damage, "two": None}
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert line.getMessage().startswith(f"Image {image.id} is damaged in store one: ")


def test_what_was_repaired_by_hand_is_whole_again(site, caplog):
    image = site.image("one", "two")
    site.spoil(image, "one")
    site.verify(image)
    shutil.copy(site.file(image, "two"), site.file(image, "one"))
    with caplog.at_level(logging.INFO, checking.LOG.name):
        assert [each.state for each in site.verify(image)] == [CheckState.GOOD] * 2
    assert site.damage(image) == {"one": None, "two": None}
    assert caplog.records[-1].getMessage() == f"Image {image.id} is whole again in store one"


LEGACY = {
    "checksum only": ({"os_hash_algo": None, "os_hash_value": None}, ("size", "md5"), True),
    "unknown algorithm": ({"os_hash_algo": "whirlpool"}, ("size", "md5"), True),
    "hash only": ({"checksum": None}, ("size", "sha512"), True),
    "capital letters": (
        {"os_hash_value": DIGESTS["os_hash_value"].upper()},
        ("size", "sha512", "md5"),
        True,
    ),
    "size only": (
        {"checksum": None, "os_hash_algo": None, "os_hash_value": None},
        ("size",),
        False,
    ),
    "nothing": (
        {"size": None, "checksum": None, "os_hash_algo": None, "os_hash_value": None},
        (),
        False,
    ),
}


@pytest.mark.parametrize("case", LEGACY)
def test_records_of_old_releases(site, case):
    fields, compared, notices = LEGACY[case]
    image = site.image("one", **fields)
    (result,) = site.verify(image)
    assert (result.state, result.compared) == (CheckState.GOOD, compared)
    site.spoil(image, "one")
    (result,) = site.verify(image)
    assert (result.state is CheckState.DAMAGED) == notices


def test_a_store_that_is_away_is_no_damage(site, caplog):
    image = site.image("one", "two")
    site.take_away("one")
    with caplog.at_level(logging.WARNING, checking.LOG.name):
        away, good = site.verify(image)
    assert (away.state, away.damage, away.bytes) == (CheckState.NOT_CHECKED, None, 0)
    assert "is not available now" in away.problem
    assert good.state is CheckState.GOOD
    assert site.damage(image) == {"one": None, "two": None}
    lines = [line.levelname for line in caplog.records if line.name == checking.LOG.name]
    assert lines == ["WARNING"]
    assert next(longest_unchecked(site.registry)) == (image.id, image.locations[0])
    site.bring_back("one")
    assert [each.state for each in site.verify(image)] == [CheckState.GOOD] * 2


def test_a_store_that_is_away_keeps_known_damage(site):
    image = site.image("one")
    site.spoil(image, "one")
    site.verify(image)
    site.take_away("one")
    site.verify(image)
    assert site.damage(image) == {"one": Damage.CONTENT}


def test_a_store_that_is_not_enabled(site):
    image = site.image("one")
    other = Location("gone", "x")
    image = site.registry.change(image.id, {}, locations=(*image.locations, other))
    assert [each.state for each in site.verify(image)] == [CheckState.GOOD, CheckState.NOT_CHECKED]


def test_one_wrong_reading_is_not_believed(site, monkeypatch):
    image = site.image("one")
    store = site.gate.stores.get("one")
    read, readings = store.read, []

    def flaky(*arguments):
        readings.append(arguments)
        return iter([b"x" * len(DATA)]) if len(readings) == 1 else read(*arguments)

    monkeypatch.setattr(store, "read", _closing(flaky))
    (result,) = site.verify(image)
    assert (result.state, len(readings)) == (CheckState.GOOD, 2)


def _closing(read):
    def chunks(*arguments):
        yield from read(*arguments)

    return chunks


def _delete(site, image):
    site.registry.change(image.id, {}, status=Status.PENDING_DELETE)
    site.file(image, "one").unlink()


def _replace(site, image):
    site.file(image, "one").unlink()
    site.registry.change(image.id, {}, locations=(Location("two", "other"),))


def _remove_copy(site, image):
    (place,) = image.locations
    site.registry.change(image.id, {}, upload_key=place.place, upload_store="one")
    site.file(image, "one").unlink()


@pytest.mark.parametrize("change", [_delete, _replace, _remove_copy])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_copy_that_is_gone_is_left_out(site, caplog, change, when):
    image = site.image("one")
    changes = [change]
    if when == "before":
        changes.pop()(site, image)

    def check():
        while changes:
            changes.pop()(site, image)

    assert site.verify(image, check=check) == []
    assert not changes
    assert caplog.records == []
    assert site.registry.damaged_copies() == []


def test_without_records(site):
    image = site.image("one")
    site.spoil(image, "one")
    (before,) = site.registry.copies_to_check(4e9)
    assert [each.damage for each in site.verify(image, records=False)] == [Damage.CONTENT]
    assert site.registry.copies_to_check(4e9) == [before]
    assert site.damage(image) == {"one": None}


def test_it_stops_between_two_reads(site):
    image = site.image("one")
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise errors.Cancelled(image_id=image.id)

    (before,) = site.registry.copies_to_check(4e9)
    with pytest.raises(errors.Cancelled):
        site.verify(image, check=check)
    assert site.registry.copies_to_check(4e9) == [before]


class Clock:
    """Time that passes while somebody waits."""

    def __init__(self):
        self.now = 0.0

    def wait(self, seconds):
        self.now += seconds


def test_the_rate(site, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(
        checking,
        "Throttle",
        lambda rate, sleep: Throttle(rate, lambda: clock.now, sleep),
    )
    images = [site.image("one") for _ in range(2)]
    places = [(image.id, place) for image in images for place in image.locations]
    list(site.verifier(rate=0.5, wait=clock.wait).verify(places))
    # The last chunk may still be read at once.
    last = 1 << 18
    seconds = 2 * len(DATA) / (0.5 * (1 << 20))
    assert seconds - last / (0.5 * (1 << 20)) <= clock.now <= seconds


def test_a_sample_gets_to_every_copy(site):
    images = [site.image("one", "two") for _ in range(3)]
    everything = {(image.id, place) for image in images for place in image.locations}
    seen = []
    for _ in range(3):
        sample = list(longest_unchecked(site.registry, number=2))
        seen += sample
        list(site.verifier().verify(sample))
    assert set(seen) == everything
    assert len(list(longest_unchecked(site.registry))) == 6
    in_two = list(longest_unchecked(site.registry, ["two"]))
    assert {place.store for _, place in in_two} == {"two"}
    assert len(in_two) == 3


def test_what_is_counted(site, tmp_path):
    image = site.image("one", "two")
    site.spoil(image, "two")
    directory = str(tmp_path / "metrics")
    values.end()
    values.begin(directory)
    try:
        site.verify(image)
        _, counted, _ = values.collect(directory)
    finally:
        values.end()
    name = metrics.VERIFIED.name
    assert (counted[name, "one", "good"], counted[name, "two", "damaged"]) == (1, 1)
    # A copy that seems damaged is read twice.
    assert counted[metrics.VERIFIED_BYTES.name, "one"] == len(DATA)
    assert counted[metrics.VERIFIED_BYTES.name, "two"] == 2 * len(DATA)
