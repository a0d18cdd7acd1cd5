"""Data goes into the bucket, and IMS registers it."""

import hashlib
import random

DATA = random.Random(1).randbytes(300_000)
CONTENT = (len(DATA), hashlib.sha256(DATA).hexdigest())
OCTETS = {"Content_Type": "application/octet-stream"}


def assert_arrived(bridge, ims, image_id):
    """IMS has the data, the client sees that, and nothing is left here."""
    assert ims.data[image_id] == CONTENT
    assert bridge.status(image_id) == "active"
    assert bridge.local(image_id).status == "deleted"
    assert bridge.store.held() == []
    assert ims.count("PUT /v2/images/.*") == 0


def test_upload(bridge, ims):
    image_id = ims.queued()
    answer = bridge.put(image_id, DATA)
    assert (answer.status_int, answer.body) == (204, b"")
    assert bridge.status(image_id) == "saving"
    assert [job["status"] for job in ims.jobs.values()] == []
    bridge.work()
    assert_arrived(bridge, ims, image_id)
