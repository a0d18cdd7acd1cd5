"""Imports that convert what they bring, with a real qemu-img in its sandbox."""

import dataclasses
import gzip
import hashlib
import os
import types

import pytest

from imsgate import errors
from imsgate.conversion.sandbox import Sandbox
from imsgate.jobs import imports
from imsgate.jobs.arguments import ImportArguments
from imsgate.model import Job, JobState
from imsgate.testing import records
from imsgate.testing.gateways import gateway, memory_store
from imsgate.testing.records import START
from tests.api.people import PEOPLE, Person
from tests.conversion.conftest import files_in, need_sandbox
from tests.formats import corpus, workshop
from tests.formats.workshop import MIB, SEED

#: Content of all disks here.
DISK = SEED.ljust(10 * MIB, b"\0")
OCTETS = "application/octet-stream"


class Site:
    """A gateway that converts, and how often it has run qemu-img since its start."""

    def __init__(self, directory, monkeypatch, options=None, further=None):
        self.runs, run = [], Sandbox.run

        def counted(sandbox, arguments, *more):
            self.runs.append(arguments[0])
            return run(sandbox, arguments, *more)

        monkeypatch.setattr(Sandbox, "run", counted)
        self.gate = gateway(
            stores=[memory_store("fast"), memory_store("archive")],
            further={
                "image_import_opts": {"image_import_plugins": ["image_conversion"]},
                "image_conversion": {"scratch_dir": str(directory / "scratch"), **(options or {})},
                **(further or {}),
            },
        )
        self.runs.clear()
        self.conversion = self.gate.engine._kinds["import"].conversion
        self.owner = Person(self.gate.app, PEOPLE["owner"])

    def stage(self, data, disk_format="qcow2", container_format="bare", **fields):
        """A new image's path, with staged data."""
        path = self.owner.create(
            disk_format=disk_format, container_format=container_format, **fields
        )
        answer = self.owner.put(f"{path}/stage", data, Content_Type=OCTETS)
        assert answer.status_int == 204, answer
        return path

    def bring(self, path, *stores, method="glance-direct"):
        """Import; return the image and the task."""
        body = {"method": {"name": method}, **({"stores": stores} if stores else {})}
        assert self.owner.post(f"{path}/import", body).status_int == 202
        assert self.gate.engine.run_one()
        return self.shown(path)

    def shown(self, path):
        [*_, task] = self.owner.get(f"{path}/tasks").json["tasks"]
        assert files_in(self.conversion.converter.scratch) == []
        return self.owner.get(path).json, task

    def held(self):
        return [len(backend.store.held()) for backend in self.gate.stores]


@pytest.fixture
def site(tmp_path, monkeypatch):
    need_sandbox()
    return lambda *options: Site(tmp_path, monkeypatch, *options)


@pytest.fixture(scope="module")
def qcow2(tmp_path_factory):
    path = tmp_path_factory.mktemp("qcow2") / "disk"
    workshop.converted("qcow2")(path)
    return path.read_bytes()


def test_a_qcow2_becomes_raw(site, qcow2):
    here = site()
    path = here.stage(qcow2)
    image, task = here.bring(path, "fast", "archive")
    assert (image["status"], image["disk_format"]) == ("active", "raw"), task
    assert (image["size"], image["virtual_size"]) == (len(DISK), len(DISK))
    assert image["checksum"] == hashlib.md5(DISK).hexdigest()
    assert image["os_hash_value"] == hashlib.sha512(DISK).hexdigest()
    assert image["stores"] == "fast,archive"
    assert here.owner.get(f"{path}/file").body == DISK
    assert here.runs == ["measure", "measure", "convert"]
    assert here.held() == [1, 1], "the staged data is gone"
    everything = len(qcow2) + 3 * len(DISK)  # read, converted, and written twice
    assert task["progress"] == {"bytes": everything, "total": everything}


def test_a_compressed_image_is_unpacked_first(site, qcow2):
    here = site({}, {"import_unpack": {"formats": ["gzip"]}})
    path = here.stage(gzip.compress(qcow2, 1), container_format="compressed")
    image, task = here.bring(path)
    assert (image["status"], image["disk_format"]) == ("active", "raw"), task
    assert image["container_format"] == "bare"
    assert here.owner.get(f"{path}/file").body == DISK


SIGNED = {
    "img_signature": "c2ln",
    "img_signature_hash_method": "SHA-256",
    "img_signature_key_type": "RSA-PSS",
    "img_signature_certificate_uuid": "00000000-0000-0000-0000-000000000000",
}

#: Disk formats of data that stays as it is; the data is raw.
UNCHANGED = {
    "already raw": ("raw", "bare", "raw"),
    "a kernel": ("aki", "aki", "raw"),
    "a kernel for qcow2": ("aki", "bare", "qcow2"),
    "an archive": ("raw", "docker", "qcow2"),
}


@pytest.mark.parametrize(("disk", "container", "output"), UNCHANGED.values(), ids=UNCHANGED)
def test_what_is_not_converted(site, disk, container, output):
    here = site({"output_format": output})
    path = here.owner.create(disk_format=disk, container_format=container)
    record = here.gate.registry.get(path.rpartition("/")[2])
    assert not here.conversion.concerns(record)


def test_an_image_that_needs_no_conversion_is_not_even_read(site, qcow2):
    here = site({"output_format": "qcow2"})
    path = here.stage(qcow2)
    image, _ = here.bring(path)
    assert (image["status"], image["disk_format"]) == ("active", "qcow2")
    assert here.owner.get(f"{path}/file").body == qcow2
    assert here.runs == []


def test_signed_images_stay(site):
    here = site()
    path = here.owner.create(disk_format="qcow2", container_format="bare", **SIGNED)
    record = here.gate.registry.get(path.rpartition("/")[2])
    assert not here.conversion.concerns(record)


def test_copies_are_not_converted(site, qcow2):
    here = site()
    path = here.owner.create(disk_format="qcow2", container_format="bare")
    here.owner.upload(path, qcow2)
    admin = Person(here.gate.app, PEOPLE["admin"])
    body = {"method": {"name": "copy-image"}, "stores": ["archive"]}
    assert admin.post(f"{path}/import", body).status_int == 202
    assert here.gate.engine.run_one()
    assert here.owner.get(path).json["stores"] == "fast,archive"
    assert here.runs == []


@pytest.mark.parametrize("formats", [[], ["raw", "zvhd2"]], ids=["any", "quick"])
def test_a_quick_import_keeps_the_format(site, formats):
    here = site({"output_format": "qcow2"})
    method = {"method": {"name": "ims-register"}, "stores": ["fast"]}
    arguments = {**method, "all_stores_must_succeed": True, "formats": formats}
    job = Job(id="j", kind="ims-register", arguments=arguments, created_at=START, updated_at=START)
    work, context = here.gate.engine._kinds["import"], types.SimpleNamespace(report=None)
    attempt = imports._Attempt(work, job, ImportArguments.of(job), context, None)
    record = records.image(disk_format="raw", container_format="bare")
    assert attempt._converts(record) == (not formats)


#: Hostile images that qemu-img would open; only the inspection stands before it. What is declared
#: as raw is not converted to raw.
HOSTILE = [
    entry
    for entry in corpus.entries()
    if not entry.accept
    and entry.format in ("qcow2", "vmdk", "vhd", "vhdx", "vdi", "qed")
    and entry.declared != "raw"
]


def test_hostile_images_never_reach_qemu_img(site, tmp_path):
    here = site()
    step = 1 if os.environ.get("IMSGATE_TEST_ALL") else 8
    for number, entry in enumerate(HOSTILE[::step]):
        file = tmp_path / f"image-{number}"
        entry.make(file)
        if file.stat().st_size > 64 * MIB:
            continue
        path = here.stage(file.read_bytes(), entry.declared or entry.format)
        image, task = here.bring(path)
        assert image["status"] == "queued", entry.name
        assert task["result"]["error_code"] in ("image_refused", "format_mismatch")
        file.unlink()
    assert here.runs == []
    assert here.held() == [0, 0]


def test_an_image_inside_the_disk_is_refused(site, tmp_path):
    """A service that probes the format of the raw result would open the inner image."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    workshop.call("qemu-img", "create", "-q", "-f", "qcow2", inner, "1M")
    workshop.call("qemu-img", "convert", "-f", "raw", "-O", "qcow2", inner, outer)
    here = site()
    image, task = here.bring(here.stage(outer.read_bytes()))
    assert image["status"] == "queued"
    assert task["result"]["error_code"] == "format_mismatch"
    assert here.runs[-1] == "convert"
    assert here.held() == [0, 0]


def test_what_qemu_img_says_reaches_the_user(site, qcow2, monkeypatch):
    here, run = site(), Sandbox.run

    def fail(sandbox, arguments, *more):
        if arguments[0] == "convert":
            raise errors.ConversionFailed(problem="error while reading at byte 0: no luck")
        return run(sandbox, arguments, *more)

    monkeypatch.setattr(Sandbox, "run", fail)
    image, task = here.bring(here.stage(qcow2))
    said = "qemu-img could not convert the image: error while reading at byte 0: no luck"
    assert image["status"] == "queued"
    assert (task["message"], task["result"]["error_code"]) == (said, "conversion_failed")
    assert image["os_glance_failed_import_message"] == said
    assert here.held() == [0, 0]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"scratch_size": 2 * MIB}, "scratch_too_small"),
        ({"scratch_size": MIB}, "scratch_too_small"),
    ],
)
def test_scratch_space_is_limited(site, qcow2, options, code):
    here = site(options)
    image, task = here.bring(here.stage(qcow2))
    assert (image["status"], task["result"]["error_code"]) == ("queued", code)
    assert "convert" not in here.runs
    assert here.held() == [0, 0]


def test_the_result_counts_for_the_size_limit(site, qcow2):
    here = site({}, {"sizelimit": {"image_size_cap": 5 * MIB}})
    image, task = here.bring(here.stage(qcow2))
    assert (image["status"], task["result"]["error_code"]) == ("queued", "too_large")
    assert "convert" not in here.runs


def test_the_result_counts_for_the_quota(site, qcow2):
    here = site({}, {"quota": {"image_size_total": 5}})
    image, task = here.bring(here.stage(qcow2))
    assert (image["status"], task["result"]["error_code"]) == ("queued", "limit_exceeded")
    assert here.runs[-1] == "convert"
    assert here.held() == [0, 0]


def test_a_job_waits_for_scratch_space(site, qcow2):
    here = site({"scratch_size": 20 * MIB})
    path, scratch = here.stage(qcow2), here.conversion.converter.scratch
    with scratch.reservation() as other:
        other.reserve(20 * MIB)
        body = {"method": {"name": "glance-direct"}}
        assert here.owner.post(f"{path}/import", body).status_int == 202
        assert here.gate.engine.run_one()
    [job] = here.gate.registry.jobs_of(path.rpartition("/")[2])
    assert job.state == JobState.RUNNING, "it was postponed"
    here.gate.registry._jobs[job.id] = dataclasses.replace(job, lease=0.0)
    assert here.gate.engine.run_one()
    image, _ = here.shown(path)
    assert (image["status"], image["disk_format"]) == ("active", "raw")


# Uploads without an import


@pytest.fixture
def uploading(site):
    return site({"on_upload": True})


def upload(here, data, disk_format="qcow2", path=None, **headers):
    path = path or here.owner.create(disk_format=disk_format, container_format="bare")
    answer = here.owner.put(f"{path}/file", data, Content_Type=OCTETS, **headers)
    return path, answer.status_int, here.owner.get(path).json


def test_an_upload_is_converted_by_a_job(uploading, qcow2):
    path, status, image = upload(uploading, qcow2, X_Image_Meta_Store="archive")
    assert (status, image["status"], image["size"]) == (204, "importing", len(qcow2))
    assert uploading.gate.engine.run_one()
    image, task = uploading.shown(path)
    assert (image["status"], image["disk_format"], image["stores"]) == ("active", "raw", "archive")
    assert uploading.owner.get(f"{path}/file").body == DISK
    assert uploading.held() == [0, 1]
    assert (task["status"], task["input"]["import_req"]["stores"]) == ("success", ["archive"])


def test_an_upload_of_the_output_format_needs_no_job(uploading):
    path, status, image = upload(uploading, DISK, "raw")
    assert (status, image["status"]) == (204, "active")
    assert not uploading.gate.engine.run_one()
    assert uploading.owner.get(f"{path}/tasks").json["tasks"] == []


def test_uploads_are_not_converted_by_default(site, qcow2):
    here = site()
    _, status, image = upload(here, qcow2)
    assert (status, image["status"], image["disk_format"]) == (204, "active", "qcow2")


def test_an_upload_that_cannot_be_converted_is_queued_again(uploading):
    path, status, image = upload(uploading, b"x" * 512)  # nothing inspects it here before the job
    assert (status, image["status"]) == (204, "importing")
    assert uploading.gate.engine.run_one()
    image, _ = uploading.shown(path)
    assert image["status"] == "queued"
    assert image["os_glance_failed_import_message"]
    assert uploading.held() == [0, 0]


def test_an_upload_is_repeated_while_it_is_converted(uploading, qcow2):
    """The response to the first one was lost."""
    path, *_ = upload(uploading, qcow2)
    assert upload(uploading, qcow2, path=path, X_Image_Meta_Store="archive")[1] == 204
    assert upload(uploading, qcow2[:-1], path=path)[1] == 409
    assert uploading.gate.engine.run_one()
    assert not uploading.gate.engine.run_one()
    assert uploading.shown(path)[0]["status"] == "active"
    assert upload(uploading, qcow2, path=path)[1] == 409


def test_an_upload_whose_last_answer_is_lost_has_one_job(uploading, qcow2, monkeypatch):
    """The database has recorded it, and says that it is unavailable."""
    registry = uploading.gate.registry
    add, outages = registry.add_job, iter([errors.Unavailable(what="The database")])

    def lose(*arguments, **to):
        add(*arguments, **to)
        for outage in outages:
            raise outage

    monkeypatch.setattr(registry, "add_job", lose)
    monkeypatch.setattr("imsgate.transfer.lease.RETRY_PAUSES_SECONDS", (0.0,))
    path, status, image = upload(uploading, qcow2)
    assert (status, image["status"]) == (204, "importing")
    assert uploading.gate.engine.run_one()
    assert not uploading.gate.engine.run_one()
    assert uploading.shown(path)[0]["status"] == "active"
