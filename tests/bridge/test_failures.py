"""What goes wrong between this service and IMS has a defined end."""

import datetime
import time

import pytest

from imsgate.testing import servers
from tests.bridge.conftest import MEMBER
from tests.bridge.ims import Answer, Fault, apigw, img
from tests.bridge.test_uploads import CONTENT, DATA, assert_arrived

SHOW = "GET /v2/images/[^/]+"
REGISTER = "PUT /v1/cloudimages/[^/]+/upload"
JOB = "GET /v1/cloudimages/job/.+"
DENIED = apigw(401, "APIGW.0301", "Incorrect IAM authentication information: ak X not exist")
BUSY = apigw(429, "APIGW.0308", "The throttling threshold has been reached", Retry_After="17")


def uploaded(bridge, ims):
    image_id = ims.queued()
    assert bridge.put(image_id, DATA).status_int == 204
    return image_id


def newest_job(bridge, image_id):
    return bridge.services.registry.jobs_of(image_id)[-1]


def make_free(bridge, image_id):
    """The job need not wait for the end of its pause."""
    job = newest_job(bridge, image_id)
    bridge.services.registry.change_job(job.id, job.epoch, {"lease": 0.0})


def assert_failed(bridge, ims, image_id, message):
    """The client sees why; nothing is left, and it may try again."""
    shown = bridge.show(image_id)
    assert (shown["status"], shown["os_glance_failed_import_message"]) == ("queued", message)
    assert bridge.store.held() == []
    assert bridge.work() == 0
    ims.failing = None
    assert bridge.put(image_id, DATA).status_int == 204
    assert "os_glance_failed_import_message" not in bridge.show(image_id)
    bridge.work()
    assert_arrived(bridge, ims, image_id)


PASSING = {
    "cut before": None,
    "cut after": None,
    "500": Answer(500, {"error": "x"}),
    "502 without JSON": Answer(502, "x"),
    "401": DENIED,
    "403": apigw(403, "APIGW.0302", "user not allowed"),
}


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("request_", [SHOW, REGISTER, JOB], ids=["show", "register", "job"])
def test_faults_that_pass(bridge, ims, fault, request_):
    """The registration goes on, and IMS is asked for it once if it has heard of it."""
    image_id = uploaded(bridge, ims)
    processed = fault == "cut after"
    ims.faults = [Fault(request_, PASSING[fault], processed)] * 2
    bridge.work()
    assert ims.faults == [] or processed
    assert_arrived(bridge, ims, image_id)
    assert len(ims.jobs) == 1


def test_lost_answer_of_a_registration(bridge, ims):
    """The state of the image decides: IMS is not asked again."""
    image_id = uploaded(bridge, ims)
    ims.faults = [Fault(REGISTER, processed=True)]
    bridge.work()
    assert ims.count(REGISTER) == 1
    assert ims.count(JOB) == 0
    assert_arrived(bridge, ims, image_id)


def test_request_that_arrives_late(bridge, ims):
    """It was taken for lost, and the next one is refused because of it."""
    image_id = uploaded(bridge, ims)
    ims.faults = [Fault(REGISTER)]
    assert bridge.services.engine.run_one()
    url = f"images:{bridge.local(image_id).locations[0].url}"
    stale = Answer(200, dict(ims.images[image_id]))
    bridge_free = Fault(SHOW, stale)
    ims.faults = [bridge_free]
    ims.register_late(image_id, url)
    bridge.work()
    assert ims.count(REGISTER) == 2
    assert_arrived(bridge, ims, image_id)
    assert len(ims.jobs) == 1


def test_cloud_with_the_old_path_of_jobs_only(bridge, ims):
    ims.has_new_jobs = False
    image_id = uploaded(bridge, ims)
    bridge.work()
    assert ims.count("GET /v1/[^/]+/jobs/[^/]+") == 2
    assert_arrived(bridge, ims, image_id)


def test_job_that_ims_has_forgotten(bridge, ims):
    image_id = uploaded(bridge, ims)
    ims.faults = [Fault(JOB, img("IMG.0023", "the job query failed"))] * 20
    bridge.work()
    assert_arrived(bridge, ims, image_id)


@pytest.mark.parametrize("request_", [SHOW, REGISTER, JOB], ids=["show", "register", "job"])
def test_busy_ims_is_left_alone_as_long_as_it_asks(bridge, ims, request_):
    image_id = uploaded(bridge, ims)
    ims.faults = [Fault(request_, BUSY)]
    now = time.time()
    bridge.work()
    assert ims.faults == []
    assert newest_job(bridge, image_id).lease >= now + 17
    make_free(bridge, image_id)
    bridge.work()
    assert_arrived(bridge, ims, image_id)


def test_worker_that_died_at_any_step(bridge, ims):
    """Its lease has run out; what it recorded is all that the next one has."""
    image_id = uploaded(bridge, ims)
    registry, number = bridge.services.registry, 0
    while bridge.status(image_id) != "active":
        # One dies before it has done anything, the next one does a step.
        now = time.time()
        if number < 3:
            assert registry.claim_job(["bridge-register"], now + 1, now - 1)
        assert bridge.services.engine.run_one()
        number += 1
    assert_arrived_after(bridge, ims, image_id)


def assert_arrived_after(bridge, ims, image_id):
    bridge.work()
    assert ims.count(REGISTER) == 1
    assert_arrived(bridge, ims, image_id)


def test_worker_that_always_dies(bridge, ims):
    image_id = uploaded(bridge, ims)
    for _ in range(5):
        now = time.time()
        assert bridge.services.registry.claim_job(["bridge-register"], now + 1, now - 1)
    bridge.work()
    message = "The job failed: its worker died at each of 5 attempts"
    assert_failed(bridge, ims, image_id, message)


def test_remote_job_that_fails(bridge, ims):
    image_id = ims.queued()
    ims.failing = ("IMG.0057", "Invalid image file")
    job_id = bridge.put(image_id, DATA).headers["X-Imsgate-Job"]
    bridge.work()
    shown = bridge.call(MEMBER, "GET", f"/v1/cloudimages/job/{job_id}").json
    assert (shown["status"], shown["error_code"]) == ("FAIL", "IMG.0057")
    assert shown["fail_reason"] == "IMG.0057: Invalid image file"
    progress = bridge.call(MEMBER, "GET", f"/v2/images/{image_id}/upload").json
    assert (progress["state"], progress["reason"]) == ("ended", "IMG.0057: Invalid image file")
    assert_failed(bridge, ims, image_id, "IMG.0057: Invalid image file")


def test_registration_that_is_refused(bridge, ims):
    image_id = uploaded(bridge, ims)
    ims.faults = [Fault(REGISTER, img("IMG.0069", "the bucket is not accessible"))]
    bridge.work()
    assert_failed(bridge, ims, image_id, "IMG.0069: the bucket is not accessible")


ENDLESS = {
    "a job that never ends": (None, "IMG.1075: the registration did not end within 1 s"),
    "a key that is refused": (
        DENIED,
        "The image service behind this gateway refused the gateway's credentials: APIGW.0301: "
        "Incorrect IAM authentication information: ak X not exist",
    ),
    "nothing but failures": (
        Answer(500),
        "The image service behind this gateway answered 500; try again later",
    ),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_registration_that_takes_too_long(make, store, ims, case):
    bridge = make(store, config="[bridge]\nregistration_timeout = 1\n")
    answer, message = ENDLESS[case]
    image_id = uploaded(bridge, ims)
    ims.polls = 10**6
    assert bridge.services.engine.run_one()
    long_ago = newest_job(bridge, image_id).created_at - datetime.timedelta(seconds=2)
    registry, job = bridge.services.registry, newest_job(bridge, image_id)
    registry.change_job(job.id, job.epoch, {"created_at": long_ago})
    ims.faults = [Fault(".*", answer)] if answer else []
    bridge.work()
    assert newest_job(bridge, image_id).state == "FAIL"
    assert bridge.local(image_id).properties["os_glance_failed_import_message"] == message
    assert bridge.store.held() == []


def test_image_that_ims_has_killed(bridge, ims):
    image_id = uploaded(bridge, ims)
    assert bridge.services.engine.run_one()
    ims.jobs.clear()
    ims.images[image_id]["status"] = "killed"
    bridge.work()
    shown = bridge.show(image_id)
    assert shown["status"] == "killed"
    message = "IMG.0057: the image is killed in the image service"
    assert shown["os_glance_failed_import_message"] == message
    assert bridge.store.held() == []


# Images that are deleted meanwhile


def assert_gone(bridge, ims, image_id):
    assert bridge.call(MEMBER, "GET", f"/v2/images/{image_id}").status_int == 404
    bridge.work()
    assert bridge.local(image_id).status == "deleted"
    assert bridge.store.held() == []
    assert image_id not in ims.data


@pytest.mark.parametrize("steps", range(3))
@pytest.mark.parametrize("way", ["here", "in IMS"])
def test_image_deleted_during_its_registration(bridge, ims, steps, way):
    image_id = uploaded(bridge, ims)
    for _ in range(steps):
        assert bridge.services.engine.run_one()
    if way == "here":
        assert bridge.call(MEMBER, "DELETE", f"/v2/images/{image_id}").status_int == 204
    else:
        del ims.images[image_id]
        bridge.work()
    assert_gone(bridge, ims, image_id)


@pytest.mark.parametrize("way", ["here", "in IMS"])
def test_image_deleted_while_its_data_comes_in(bridge, ims, way):
    image_id = ims.queued()

    class Deleting(servers.Input):
        def read(self, size=-1):
            chunk = super().read(size)
            if image_id in ims.images and self.given > len(DATA) // 2:
                if way == "here":
                    bridge.call(MEMBER, "DELETE", f"/v2/images/{image_id}")
                else:
                    del ims.images[image_id]
            return chunk

    answer = bridge.send(image_id, Deleting(DATA, step=10_000), len(DATA))
    assert answer.code in (404, 410)
    assert_gone(bridge, ims, image_id)


def test_image_deleted_during_a_resumable_upload(bridge, ims):
    image_id = ims.queued()
    path = f"/v2/images/{image_id}"
    bridge.call(MEMBER, "PUT", f"{path}/file", DATA[:1000], Upload_Complete="?0")
    assert bridge.call(MEMBER, "DELETE", path).status_int == 204
    assert_gone(bridge, ims, image_id)


def test_protected_image_stays(bridge, ims):
    image_id = uploaded(bridge, ims)
    ims.images[image_id]["protected"] = True
    assert bridge.call(MEMBER, "DELETE", f"/v2/images/{image_id}").status_int == 400
    bridge.work()
    assert_arrived(bridge, ims, image_id)


# Requests with data while IMS fails

REFUSED = {
    "cut": (None, (502, "upstream_failed"), "30"),
    "500": (Answer(500), (502, "upstream_failed"), "30"),
    "401": (DENIED, (502, "upstream_denied"), "30"),
    "429": (BUSY, (429, "upstream_busy"), "17"),
    "nonsense": (Answer(200, ["x"]), (502, "upstream_failed"), "30"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("call", ["plain", "resumable"])
def test_data_while_ims_fails(bridge, ims, case, call):
    """It is refused before anything of it is read."""
    image_id = ims.queued()
    fault, outcome, seconds = REFUSED[case]
    ims.faults = [Fault(SHOW, fault)] * 2
    headers = {"Upload_Complete": "?0"} if call == "resumable" else {}
    answer = bridge.put(image_id, DATA, **headers)
    assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == outcome
    assert answer.headers["Retry-After"] == seconds
    assert bridge.store.held() == []
    ims.faults = []
    assert bridge.put(image_id, DATA).status_int == 204
    bridge.work()
    assert ims.data[image_id] == CONTENT


def test_refused_credentials_are_not_the_clients(bridge, ims):
    ims.faults = [Fault(".*", DENIED), Fault(".*", BUSY)]
    image_id = ims.queued()
    path = f"/v2/images/{image_id}"
    denied = bridge.call(MEMBER, "GET", path)
    assert (denied.status_int, denied.headers["X-Imsgate-Reason"]) == (502, "upstream_denied")
    busy = bridge.call(MEMBER, "GET", path)
    assert (busy.status_int, busy.headers["Retry-After"]) == (429, "17")
    assert busy.json["error_code"] == "APIGW.0308"
