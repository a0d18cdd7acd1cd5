"""Damaged copies are not served, copied or kept in place of good ones."""

import os

import pytest

from imsgate.model import Damage
from tests.verification.site import ADMIN, DATA


@pytest.mark.parametrize("bad", ["one", "two"])
def test_a_download_gets_the_good_copy(site, bad):
    image = site.image("one", "two")
    site.spoil(image, bad)
    site.verify(image)
    response = site.download(image)
    assert (response.status_int, response.body) == (200, DATA)


def test_a_download_whose_good_copy_is_away_waits_for_it(site):
    image = site.image("one", "two")
    site.spoil(image, "one")
    site.verify(image)
    site.take_away("two")
    response = site.download(image)
    assert (response.status_int, response.headers["X-Imsgate-Reason"]) == (503, "store_unavailable")
    site.bring_back("two")
    assert site.download(image).body == DATA


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_wrong_data_is_refused(site, method):
    image = site.image("one", "two")
    for store in ("one", "two"):
        site.spoil(image, store)
    site.verify(image)
    response = site.download(image, method)
    assert (response.status_int, response.headers["X-Imsgate-Reason"]) == (500, "image_damaged")
    if method == "GET":
        assert "damaged in every store" in response.text


def test_truncated_data_is_refused(site):
    image = site.image("one")
    os.truncate(site.file(image, "one"), 10)
    site.verify(image)
    assert site.download(image).status_int == 500


def test_missing_data_is_missing_until_it_is_restored(site):
    image = site.image("one", "two")
    stored = site.file(image, "one")
    hidden = stored.with_name("hidden")
    site.spoil(image, "two")
    stored.rename(hidden)
    site.verify(image)
    assert site.damage(image) == {"one": Damage.MISSING, "two": Damage.CONTENT}
    response = site.download(image)
    assert (response.status_int, response.headers["X-Imsgate-Reason"]) == (404, "not_found")
    hidden.rename(stored)
    assert site.download(image).body == DATA


def test_the_only_good_copy_cannot_be_deleted(site):
    image = site.image("one", "two", "three")
    for store in ("one", "two"):
        site.spoil(image, store)
    site.verify(image)
    refused = site.call(ADMIN, "DELETE", f"/v2/stores/three/{image.id}")
    assert (refused.status_int, "not damaged" in refused.text) == (403, True)
    assert site.call(ADMIN, "DELETE", f"/v2/stores/one/{image.id}").status_int == 204
    assert site.download(image).body == DATA


def test_a_copy_is_made_from_a_good_one(site):
    image = site.image("one", "two")
    site.spoil(image, "one")
    site.verify(image)
    asked = {"method": {"name": "copy-image"}, "stores": ["three"]}
    answer = site.call(ADMIN, "POST", f"/v2/images/{image.id}/import", asked)
    assert answer.status_int == 202
    assert site.gate.engine.run_one()
    assert site.file(site.registry.get(image.id), "three").read_bytes() == DATA
