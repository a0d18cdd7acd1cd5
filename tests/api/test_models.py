"""Every answer is as the models of the vendor's SDKs have it: types, and 32-bit numbers."""

import re

import pytest
from huaweicloudsdkims import v2

from tests.api.test_clients import FORMATS, NEW, TAG, URL, Site, ask

LARGE = 40 << 30
MAX = 2**31 - 1
SIGNED = {"X_Sdk_Date": "20260101T000000Z"}

KINDS = {"str": str, "int": int, "bool": bool, "float": float | int, "object": object}


def problems(kind, value, where):
    """Where ``value`` is not of ``kind``, a type as the SDK's models name it."""
    if value is None:
        return []
    if listed := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            return [where]
        found = (problems(listed[1], one, f"{where}[]") for one in value)
        return [problem for some in found for problem in some]
    if kind in KINDS:
        fits = isinstance(value, KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))
        fits = fits and (kind != "int" or abs(value) <= MAX)
        return [] if fits or kind == "object" else [f"{where}: {value!r} is no {kind}"]
    model = getattr(v2, kind)
    if not isinstance(value, dict):
        return [where]
    return [
        problem
        for name, member in model.openapi_types.items()
        for problem in problems(
            member, value.get(model.attribute_map[name]), f"{where}.{model.attribute_map[name]}"
        )
    ]


@pytest.fixture(params=["huawei", "otc", "none"])
def large(request):
    """A gateway with an image of 40 GiB that has every attribute of the models as a property,
    and the names of what was made."""
    site = Site(request.param)
    names = set(v2.ImageInfo.attribute_map.values())
    ours = set(site.owner.post("/v2/images", {}).json)
    custom = {
        name: "x"
        for name in names - ours
        if name not in ("__os_version", "__imagetype", "virtual_env_type", "hw_firmware_type")
        and not name.startswith("__os_")
    }
    path = site.active(
        **custom, properties="x", page_info="x", min_disk=1024 if request.param != "none" else 1
    )
    image_id = path.rpartition("/")[2]
    site.gate.registry.change(image_id, {}, size=LARGE, virtual_size=LARGE)
    site.owner.post(f"{path}/members", {"member": "p3"})
    site.owner.put("/v1/cloudimages/tags", {"image_id": image_id, "image_tag": TAG})
    started = site.owner.post("/v2/cloudimages/action", NEW).json["job_id"]
    site.run()
    return site, image_id, started


CALLS = {
    "GET /v2/cloudimages": "ListImagesResponse",
    "GET /v2/cloudimages?limit=1": "ListImagesResponse",
    "PATCH /v2/cloudimages/{id}": "UpdateImageResponse",
    "GET /v2/images": "GlanceListImagesResponse",
    "GET /v2/images?limit=1": "GlanceListImagesResponse",
    "GET /v2/images/{id}": "GlanceShowImageResponse",
    "PATCH /v2/images/{id}": "GlanceUpdateImageResponse",
    "POST /v2/images": "GlanceCreateImageMetadataResponse",
    "GET /v2/images/{id}/members": "GlanceListImageMembersResponse",
    "GET /v2/images/{id}/members/p3": "GlanceShowImageMemberResponse",
    "POST /v2/images/{id}/members": "GlanceAddImageMemberResponse",
    "GET /v1/cloudimages/quota": "ShowImageQuotaResponse",
    "GET /v1/cloudimages/os_version": "list[ListOsVersionsResponseBody]",
    "GET /v1/cloudimages/job/{job}": "ShowJobProgressResponse",
    "GET /v1/p1/jobs/{job}": "ShowJobResponse",
    "GET /v2/p1/images/{id}/tags": "ListImageTagsResponse",
    "GET /v2/p1/images/tags": "ListImagesTagsResponse",
    "POST /v1/cloudimages/{id}/copy": "CopyImageInRegionResponse",
    "GET /v1/cloudimages/tags": "ListTagsResponse",
    "POST /v2/p1/images/resource_instances/action": "ListImageByTagsResponse",
    "GET /v1/p1/cloudimages/{id}/members": "ListImageMembersResponse",
    "GET /v1/p1/cloudimages/{id}/members/p3": "ShowImageMemberResponse",
    "GET /": "ListVersionsResponse",
    "POST /v2/cloudimages/action": "CreateImageResponse",
    "POST /v2/cloudimages/quickimport/action": "ImportImageQuickResponse",
    "POST /v1/cloudimages/dataimages/action": "CreateDataImageResponse",
    "POST /v1/cloudimages/{id}/file": "ExportImageResponse",
    "POST /v2.1/cloudimages/{id}/copy": "CopyImageInRegionInSafeModeResponse",
    "POST /v2.1/cloudimages/action": "CreateImageInSafeModeResponse",
    "POST /v2.1/cloudimages/quickimport/action": "ImportImageQuickInSafeModeResponse",
    "POST /v2.1/cloudimages/dataimages/action": "CreateDataImageInSafeModeResponse",
    "POST /v2.1/cloudimages/{id}/file": "ExportImageInSafeModeResponse",
    "POST /v1/cloudimages/members": "BatchAddMembersResponse",
    "DELETE /v1/cloudimages/members": "BatchDeleteMembersResponse",
}


def bodies(image_id):
    change = [{"op": "replace", "path": "/name", "value": "n"}]
    new = {**NEW, "os_version": "CentOS 7.9 64bit"}
    sharing = {"images": [image_id], "projects": ["p4"]}
    export = {"bucket_url": "bkt:b.raw", "file_format": "raw"}
    copy = {"name": "copy", "description": "", "cmk_id": None}
    return {
        "PATCH /v2/cloudimages/{id}": change,
        "POST /v2/images": FORMATS,
        "POST /v2/images/{id}/members": {"member": "p5"},
        "POST /v2/cloudimages/action": new,
        "POST /v2/cloudimages/quickimport/action": new,
        "POST /v1/cloudimages/dataimages/action": new,
        "POST /v1/cloudimages/{id}/file": export,
        "POST /v2.1/cloudimages/action": new,
        "POST /v2.1/cloudimages/quickimport/action": new,
        "POST /v2.1/cloudimages/dataimages/action": new,
        "POST /v2.1/cloudimages/{id}/file": export,
        "POST /v2.1/cloudimages/{id}/copy": copy,
        "POST /v2/p1/images/resource_instances/action": {"action": "filter"},
        "POST /v1/cloudimages/{id}/copy": copy,
        "POST /v1/cloudimages/members": sharing,
        "DELETE /v1/cloudimages/members": sharing,
    }


def answers(large, signed):
    site, image_id, job_id = large
    for call in CALLS:
        method, _, path = call.partition(" ")
        where = path.format(id=image_id, job=job_id)
        if call == "PATCH /v2/images/{id}":
            change = {"op": "replace", "path": "/name", "value": "n"}
            kind = "application/openstack-images-v2.1-json-patch"
            answer = site.owner.ask(method, where, [change], Content_Type=kind, **signed)
        else:
            answer = site.owner.ask(method, where, bodies(image_id).get(call, b""), **signed)
        assert answer.status_int in (200, 201, 300), (call, answer)
        if where.endswith("/file"):
            site.run()  # an image has one unfinished job at most
        yield call, answer.json


def test_every_signed_answer_fits_the_vendors_models(large):
    found = {
        call: wrong
        for call, document in answers(large, SIGNED)
        if (wrong := problems(CALLS[call], document, ""))
    }
    assert found == {}


def test_every_answer_on_the_vendors_paths_fits_its_models(large):
    native = re.compile(r"\w+ (/v2/images.*|/)")
    found = {
        call: wrong
        for call, document in answers(large, {})
        if not native.fullmatch(call) and (wrong := problems(CALLS[call], document, ""))
    }
    assert found == {}


def test_the_true_size_is_still_shown(large):
    site, image_id, _ = large
    assert site.owner.get(f"/v2/images/{image_id}").json["size"] == LARGE
    (image,) = (
        one for one in site.owner.get("/v2/cloudimages").json["images"] if one["id"] == image_id
    )
    assert (image["size"], image["__image_size"]) == (0, str(LARGE))


def test_failed_and_shared_jobs_fit_the_models(large):
    site, image_id, _ = large
    refused = {"images": [image_id], "projects": ["p3"]}
    jobs = [ask(site.owner, "POST /v1/cloudimages/members", refused).json["job_id"]]
    missing = {**NEW, "image_url": "bkt:missing"}
    jobs.append(ask(site.owner, "POST /v2/cloudimages/action", missing).json["job_id"])
    register = f"/v1/cloudimages/{site.queued().rpartition('/')[2]}/upload"
    jobs.append(site.owner.put(register, {"image_url": URL}).json["job_id"])
    site.run()
    for job_id in jobs:
        for path, model in (
            (f"/v1/p1/jobs/{job_id}", "ShowJobResponse"),
            (f"/v1/cloudimages/job/{job_id}", "ShowJobProgressResponse"),
        ):
            assert problems(model, site.owner.get(path).json, path) == []
