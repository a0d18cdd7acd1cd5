"""tus 1.0.0 at /v2/uploads, as the API decides."""

import base64
import hashlib
from email.utils import parsedate_to_datetime

import hypothesis
import pytest
from hypothesis import strategies as st

from imsgate import errors
from imsgate.api import receiver
from imsgate.api.tus_headers import parse_metadata

OCTETS = "application/offset+octet-stream"
WHOLE = bytes(range(256)) * 12


def encoded(**pairs):
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
    )


NEW = {"name": "new", "disk_format": "raw", "container_format": "bare"}


def ask(person, method, path, body=b"", **headers):
    return person.ask(method, path, body, **{"Tus_Resumable": "1.0.0", **headers})


def create(person, length=3072, body=b"", metadata=None, **headers):
    headers.setdefault("Upload_Metadata", encoded(**(NEW if metadata is None else metadata)))
    if length is not None:
        headers["Upload_Length"] = str(length)
    if body:
        headers.setdefault("Content_Type", OCTETS)
    return ask(person, "POST", "/v2/uploads", body, **headers)


def where(answer):
    return "/v2/uploads/" + answer.headers["Location"].rpartition("/")[2]


def append(person, path, offset, data, **headers):
    headers = {"Content_Type": OCTETS, "Upload_Offset": str(offset), **headers}
    return ask(person, "PATCH", path, data, **headers)


def state(answer):
    return answer.status_int, answer.headers.get("Upload-Offset")


def the_image(owner):
    (image,) = owner.get("/v2/images").json["images"]
    return image


def test_options_lists_what_is_offered(owner):
    answer = owner.ask("OPTIONS", "/v2/uploads")
    assert answer.status_int == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Max-Size"] == str(1 << 40)
    assert answer.headers["Tus-Extension"] == (
        "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"
    )
    assert "concatenation" not in answer.headers["Tus-Extension"]
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,sha512,md5"


def test_an_image_is_created_with_its_data(owner):
    answer = create(owner)
    assert answer.status_int == 201
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert parsedate_to_datetime(answer.headers["Upload-Expires"])
    path = where(answer)
    assert state(append(owner, path, 0, WHOLE[:1000])) == (204, "1000")
    answer = ask(owner, "HEAD", path)
    assert state(answer) == (200, "1000")
    assert answer.headers["Upload-Length"] == "3072"
    assert answer.headers["Upload-Metadata"] == encoded(**NEW)
    assert answer.headers["Cache-Control"] == "no-store"
    assert state(append(owner, path, 1000, WHOLE[1000:])) == (204, "3072")
    image = the_image(owner)
    assert (image["name"], image["status"]) == ("new", "active")
    assert owner.get(f"{image['self']}/file").body == WHOLE


def test_an_existing_image_may_be_named(owner):
    path = owner.create(disk_format="raw", container_format="bare")
    metadata = {"image_id": path.rpartition("/")[2], "filename": "disk.raw"}
    answer = create(owner, body=WHOLE, metadata=metadata)
    assert state(answer) == (201, "3072")
    assert owner.get(f"{path}/file").body == WHOLE


def test_data_may_be_staged(owner):
    path = owner.create(disk_format="raw", container_format="bare")
    metadata = {"image_id": path.rpartition("/")[2], "stage": ""}
    create(owner, body=WHOLE, metadata=metadata)
    assert owner.get(path).json["status"] == "uploading"


def test_attributes_are_those_of_a_new_image(owner):
    metadata = {
        **NEW,
        "min_disk": "3",
        "protected": "true",
        "tags": "a,b",
        "os_distro": "debian",
        "visibility": "private",
        "filename": "x.img",
        "filetype": "application/octet-stream",
    }
    assert create(owner, metadata=metadata).status_int == 201
    image = the_image(owner)
    assert (image["min_disk"], image["protected"], image["tags"]) == (3, True, ["a", "b"])
    assert (image["os_distro"], image["visibility"]) == ("debian", "private")
    assert "filename" not in image


@pytest.mark.parametrize("number", ["9" * 4301, "9" * 20, "\u0663", "1e3", "-1"], ids=len)
def test_numbers_of_no_use(owner, number):
    """Python converts no text of more than 4300 digits."""
    answer = create(owner, metadata={**NEW, "min_disk": number})
    assert (answer.status_int, answer.headers["X-Imsgate-Reason"]) == (400, "bad_json")
    assert owner.get("/v2/images").json["images"] == []


def test_nothing_may_be_appended_at_the_end(owner):
    """A client does that which lost the response to its last request. More is refused."""
    path = where(create(owner, body=WHOLE))
    assert state(append(owner, path, 3072, b"")) == (204, "3072")
    assert append(owner, path, 0, b"").status_int == 400
    assert append(owner, path, 3072, b"x").status_int == 400


def test_the_length_may_come_later(owner):
    answer = create(owner, length=None, Upload_Defer_Length="1")
    path = where(answer)
    answer = ask(owner, "HEAD", path)
    assert answer.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in answer.headers
    append(owner, path, 0, WHOLE[:1000])
    assert state(append(owner, path, 1000, WHOLE[1000:], Upload_Length="3072")) == (204, "3072")
    assert the_image(owner)["status"] == "active"


def test_an_empty_image_is_complete_at_once(owner):
    create(owner, length=0)
    assert the_image(owner)["size"] == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload_Length": "-1"}, 400),
        ({"Upload_Length": "12a"}, 400),
        ({"Upload_Metadata": "name !"}, 400),
        ({"Upload_Metadata": "name bmFtZQ==,name bmFtZQ=="}, 400),
        ({"Upload_Metadata": ",,"}, 400),
        ({"Tus_Resumable": "0.2.2"}, 412),
        ({"Tus_Resumable": ""}, 412),
        ({"Upload_Length": str((1 << 40) + 1)}, 413),
    ],
)
def test_bad_creations_create_nothing(owner, headers, status):
    answer = create(owner, length=None, **headers)
    assert answer.status_int == status
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    if status != 413:
        assert owner.get("/v2/images").json["images"] == []


def test_a_length_is_required(owner):
    assert create(owner, length=None).status_int == 400
    assert create(owner, length=None, Upload_Defer_Length="2").status_int == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload_Offset": "7"}, 409),
        ({"Upload_Offset": "x"}, 400),
        ({"Content_Type": "application/octet-stream"}, 415),
        ({"Tus_Resumable": "2.0.0"}, 412),
        ({"Upload_Checksum": "crc32 AAAA"}, 400),
        ({"Upload_Checksum": "sha1 !!"}, 400),
        ({"Upload_Checksum": "sha1 AAAA"}, 460),
    ],
)
def test_what_cannot_be_appended_changes_nothing(owner, gate, monkeypatch, headers, status):
    monkeypatch.setattr(receiver, "PATIENCE_SECONDS", 0.0)
    path = where(create(owner, body=WHOLE[:100]))
    answer = append(owner, path, 100, WHOLE[100:], **headers)
    assert answer.status_int == status
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert state(ask(owner, "HEAD", path)) == (200, "100")
    checksum = base64.b64encode(hashlib.sha1(WHOLE[100:]).digest()).decode()
    answer = append(owner, path, 100, WHOLE[100:], Upload_Checksum=f"sha1 {checksum}")
    assert state(answer) == (204, "3072")
    gate.engine.run_one()  # after another checksum, the data has to be read again
    assert the_image(owner)["checksum"] == hashlib.md5(WHOLE).hexdigest()


def test_it_may_be_terminated(owner):
    path = where(create(owner, body=WHOLE[:100]))
    assert ask(owner, "DELETE", path).status_int == 204
    assert ask(owner, "HEAD", path).status_int == 410
    assert the_image(owner)["status"] == "queued"


def test_a_method_may_be_overridden(owner):
    path = where(create(owner))
    answer = ask(
        owner,
        "POST",
        path,
        WHOLE,
        X_HTTP_Method_Override="PATCH",
        Content_Type=OCTETS,
        Upload_Offset="0",
    )
    assert state(answer) == (204, "3072")
    assert ask(owner, "POST", path).status_int == 405


def test_other_users_do_not_find_it(owner, people):
    path = where(create(owner, body=WHOLE[:100]))
    for person in (people.other, people.admin):
        assert ask(person, "HEAD", path).status_int == 404
        assert append(person, path, 100, WHOLE[100:]).status_int == 404
        assert ask(person, "DELETE", path).status_int == 404
    assert state(ask(owner, "HEAD", path)) == (200, "100")


def test_the_rules_of_images_decide(people):
    assert create(people.reader).status_int == 403
    assert create(people.nobody).status_int == 401


def test_a_refused_image_says_why(owner):
    metadata = {**NEW, "disk_format": "qcow2"}
    answer = create(owner, body=WHOLE, metadata=metadata)
    assert answer.status_int == 415
    assert answer.headers["Tus-Resumable"] == "1.0.0"


@hypothesis.given(st.text())
def test_any_metadata_is_parsed_or_refused(text):
    try:
        metadata = parse_metadata(text)
    except errors.BadHeader:
        return
    assert all(metadata)


#: NUL is refused.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@hypothesis.given(st.dictionaries(st.from_regex(r"[a-z_]{1,10}", fullmatch=True), TEXTS))
def test_metadata_is_what_was_encoded(pairs):
    assert parse_metadata(encoded(**pairs)) == pairs


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (400, {"metadata": {"name": "no formats"}}),
        (400, {"metadata": {**NEW, "os_distro": "a\0b"}}),
        (400, {"metadata": {**NEW, "store": "nosuch"}}),
        (413, {"length": 10**15}),
        (400, {"length": 5, "body": WHOLE}),
        (415, {"metadata": {**NEW, "disk_format": "qcow2"}, "body": WHOLE}),
        (460, {"body": WHOLE, "Upload_Checksum": "sha1 " + base64.b64encode(bytes(20)).decode()}),
    ],
    ids=["formats", "NUL", "store", "size", "length", "content", "checksum"],
)
def test_a_creation_that_fails_leaves_no_image(owner, gate, status, asked):
    """The client receives no address, and creates another one."""
    assert create(owner, **asked).status_int == status
    assert owner.get("/v2/images").json["images"] == []
    assert gate.registry.expired(2**40) == []


def test_a_creation_whose_store_is_away_leaves_no_image(owner, gate):
    def begin(key, size, epoch):
        raise errors.StoreUnavailable(store="fast", problem="away")

    gate.stores.get("fast").begin = begin
    assert create(owner, body=WHOLE).status_int == 503
    assert owner.get("/v2/images").json["images"] == []
    named = owner.create(disk_format="raw", container_format="bare")
    metadata = {"image_id": named.rpartition("/")[2]}
    assert create(owner, body=WHOLE, metadata=metadata).status_int == 503
    assert owner.get(named).json["status"] == "queued"


def test_an_upload_is_found_in_any_case(owner):
    path = where(create(owner))
    upper = "/v2/uploads/" + path.rpartition("/")[2].upper()
    assert state(append(owner, upper, 0, WHOLE[:100])) == (204, "100")
    assert ask(owner, "HEAD", upper).headers["Upload-Offset"] == "100"
    assert ask(owner, "DELETE", upper).status_int == 204


def test_headers_that_are_empty_mean_nothing(owner):
    empty = {"Upload_Checksum": "", "Upload_Concat": ""}
    path = where(create(owner, Upload_Defer_Length="", **empty))
    assert state(append(owner, path, 0, WHOLE, Upload_Length="", **empty)) == (204, "3072")
    assert create(owner, length="", Upload_Defer_Length="1").status_int == 201


@pytest.mark.parametrize("concat", ["partial", "final;/v2/uploads/a /v2/uploads/b"])
def test_parts_of_an_upload_are_not_taken_for_images(owner, concat):
    """As parallel uploads of tus-js-client send them."""
    answer = create(owner, Upload_Concat=concat)
    assert answer.status_int == 400
    assert "Upload-Concat" in answer.text
    assert owner.get("/v2/images").json["images"] == []
