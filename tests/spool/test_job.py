"""The job that sends an upload to upstream: refusals, lost responses, dead processes."""

import json

import pytest

from imsgate.jobs.context import Interrupted
from imsgate.spool import job
from tests.spool.test_uploads import DATA


@pytest.fixture
def arrived(front):
    """A front, and an image whose upload has arrived there."""
    return front, _arrived(front)


def _arrived(front, **more):
    image_id = front.upstream.create()
    assert front.begin(image_id, DATA, "?1", **more).code == 202
    return image_id


def _again(front):
    """Do a job that waits for its source, or whose worker died, before its time."""
    (waiting,) = (each for each in front.spool.registry.jobs(None) if each.state == "RUNNING")
    front.spool.registry.change_job(waiting.id, waiting.epoch, {"lease": 1.0})
    front.run()


REFUSALS = {
    "forbidden": (403, "<html><title>403</title><h1>You may not</h1></html>"),
    "conflict": (409, "You may not"),
    "redirect": (302, "You may not"),
    "format": (415, "You may not"),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_reaches_the_client(answer, arrived):
    front, image_id = arrived
    front.upstream.answers = [answer]
    front.run()
    head = front.progress(image_id, "HEAD")
    assert (head.code, head.reason) == (410, "upload_ended")
    view = json.loads(front.progress(image_id).body)
    assert view["state"] == "ended"
    assert str(answer[0]) in view["reason"]
    assert "You may not" in view["reason"]
    assert "<" not in view["reason"]
    front.assert_empty(image_id)
    assert front.begin(image_id, DATA, "?1").code == 202  # and again
    front.run()
    assert front.upstream.data == {image_id: DATA}


@pytest.mark.parametrize("fault", [(503, "busy"), (500, "oops"), (429, "slowly"), "lost"])
def test_a_fault_of_upstream_is_waited_out(fault, arrived):
    front, image_id = arrived
    front.upstream.answers = [fault]
    front.run()
    assert json.loads(front.progress(image_id).body)["state"] == "finishing"
    assert image_id not in front.upstream.data
    _again(front)
    assert front.upstream.data == {image_id: DATA}
    front.assert_empty(image_id)


def test_it_is_waited_out_for_a_while_only(fronts):
    front = fronts("source_retry_time = 0")
    image_id = _arrived(front)
    front.upstream.answers = [(503, "busy")]
    front.run()
    assert front.progress(image_id, "HEAD").code == 410
    front.assert_empty(image_id)


def test_a_lost_response(arrived):
    """Upstream has the image, and is not sent it again."""
    front, image_id = arrived
    front.upstream.answers = ["unanswered"]
    front.run()
    _again(front)
    assert len(front.upstream.uploads()) == 1
    assert json.loads(front.progress(image_id).body)["state"] == "complete"
    front.assert_empty(image_id)


CHANGED = {
    "other data": {"checksum": "0" * 32},
    "other size": {"size": 1},
    "no checksum": {"checksum": None},
    "deactivated": {"status": "deactivated"},
}


@pytest.mark.parametrize("fields", CHANGED.values(), ids=CHANGED)
def test_an_image_that_has_other_data(fields, arrived):
    front, image_id = arrived
    front.upstream.answers = ["unanswered"]
    front.run()
    front.upstream.records[image_id] |= fields
    _again(front)
    assert front.progress(image_id, "HEAD").code == 410
    assert len(front.upstream.uploads()) == 1
    front.assert_empty(image_id)


def test_an_image_that_is_still_being_received(arrived):
    front, image_id = arrived
    front.upstream.records[image_id]["status"] = "saving"
    front.run()
    front.upstream.records[image_id]["status"] = "queued"
    _again(front)
    assert front.upstream.data == {image_id: DATA}


def test_an_image_that_was_deleted_meanwhile(arrived):
    front, image_id = arrived
    del front.upstream.records[image_id]
    front.run()
    assert front.progress(image_id, "HEAD").code == 404
    front.assert_empty(image_id)


@pytest.mark.parametrize("asked", ["record", "data"])
def test_a_token_that_has_expired(asked, arrived):
    front, image_id = arrived
    front.upstream.answers = [(401, "expired")]
    front.upstream.expired = {"token"} if asked == "record" else set()
    front.run()
    front.upstream.expired = set()
    assert "answered 401" in json.loads(front.progress(image_id).body)["reason"]
    front.assert_empty(image_id)


@pytest.mark.parametrize("moment", ["check_success", "_released"])
def test_a_process_that_dies(moment, arrived, monkeypatch):
    """After upstream has the image: before that is recorded, and before the job ends."""
    front, image_id = arrived
    with monkeypatch.context() as patch:

        def die(*_):
            raise Interrupted("killed")

        patch.setattr(job, moment, die)
        front.run()
    assert front.upstream.data == {image_id: DATA}
    _again(front)
    assert len(front.upstream.uploads()) == 1
    front.assert_empty(image_id)


def test_a_process_that_dies_before_it_removes_the_data(arrived, monkeypatch):
    front, image_id = arrived
    monkeypatch.setattr(job.ForwardUpload, "_clean_up", lambda self, upload: None)
    front.run()
    assert front.spool.stores.get("spool").held() != []
    assert front.spool.cleanup.sweep() == 1
    front.assert_empty(image_id)


def test_the_data_is_inspected_again(arrived):
    """The record may declare another format by now."""
    front, image_id = arrived
    front.upstream.records[image_id]["disk_format"] = "qcow2"
    front.run()
    assert front.progress(image_id, "HEAD").code == 410
    assert image_id not in front.upstream.data
    front.assert_empty(image_id)


def test_credentials_are_stored_encrypted_and_only_while_they_are_needed(arrived):
    front, _ = arrived
    (waiting,) = front.spool.registry.jobs(None)
    assert waiting.arguments["warrant"]
    assert "token" not in str(waiting.arguments)
    front.run()
    (ended,) = front.spool.registry.jobs(None)
    assert "warrant" not in ended.arguments


def test_a_token_of_the_service_replaces_them(fronts, tmp_path):
    (tmp_path / "token").write_text("service\n")
    (tmp_path / "token").chmod(0o600)
    front = fronts(token_file=str(tmp_path / "token"))
    image_id = _arrived(front)
    front.run()
    assert [headers["x-auth-token"] for headers in front.upstream.uploads()] == ["service"]
    front.assert_empty(image_id)


def test_an_upload_expires(front):
    image_id = front.upstream.create()
    front.begin(image_id, DATA)
    registry = front.spool.registry
    registry.change(image_id, {"status": "saving"}, upload_expires=1.0)
    front.spool.cleanup.sweep()
    front.assert_empty(image_id)
