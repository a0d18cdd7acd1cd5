"""sizelimit: by what is announced at once, by count while the body passes."""

import pytest

from imsgate import errors
from imsgate.filters import sizelimit
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import FILE, IMAGE, post, put, refused

LIMITS = {"image_size_cap": "1000", "max_metadata_size": "100"}


class TestSizeLimit(FilterContract):
    @pytest.fixture
    def factory(self):
        return sizelimit.filter_factory

    def settings(self):
        return {"image_size_cap": str(self.SIZE)}

    def large_settings(self):
        return {"image_size_cap": str(1 << 30)}

    def refused(self):
        return {"CONTENT_LENGTH": str(self.SIZE + 1)}

    def refused_body(self):
        return bytes(self.SIZE + 1)


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        pytest.param({}, 1000, id="upload"),
        pytest.param({"PATH_INFO": FILE + "/"}, 1000, id="upload-slash"),
        pytest.param({"PATH_INFO": IMAGE + "/stage"}, 1000, id="stage"),
        pytest.param({"PATH_INFO": IMAGE}, 100, id="put-of-something-else"),
        pytest.param({"PATH_INFO": "/v2/images/a/b/file"}, 100, id="deeper"),
        pytest.param({"REQUEST_METHOD": "DELETE"}, 100, id="delete"),
        pytest.param({"REQUEST_METHOD": "POST"}, 1000, id="post"),
        pytest.param({"REQUEST_METHOD": "PATCH", "PATH_INFO": IMAGE}, 100, id="patch"),
        pytest.param({"REQUEST_METHOD": "PATCH", "PATH_INFO": IMAGE + "/upload"}, 1000, id="part"),
        pytest.param({"REQUEST_METHOD": "POST", "PATH_INFO": "/v2/uploads"}, 1000, id="tus"),
        pytest.param({"PATH_INFO": "/v2/images/\xff/file"}, 1000, id="not-utf-8"),
    ],
)
class TestEachRoute:
    def test_what_announces_too_much_is_refused_unread(self, alone, request_, limit):
        app, stream = apps.App(apps.by(100)), servers.Input(bytes(limit + 1))
        answer = put(alone("sizelimit", app, **LIMITS), stream, length=limit + 1, **request_)
        assert (answer.code, answer.reason) == (413, "too_large")
        assert stream.asked == 0
        assert str(limit) in answer.body.decode()
        is_image = limit == 1000  # other paths may not exist, which only the application knows
        assert app.called is not is_image

    def test_exactly_the_limit_passes(self, alone, request_, limit):
        app = apps.App(apps.by(70))
        filtered = alone("sizelimit", app, **LIMITS)
        assert put(filtered, bytes(limit), **request_).code == 200
        assert put(filtered, bytes(limit), chunked=True, **request_).code == 200
        assert app.bodies == [bytes(limit)] * 2

    @pytest.mark.parametrize("size", [1, 64, 65536])
    @pytest.mark.parametrize("how", apps.ReadFails.HOW)
    def test_one_byte_over_is_refused_whatever_the_application_does(
        self, alone, how, size, request_, limit
    ):
        app, stream = apps.ReadFails(how, size), servers.Input(bytes(limit + 1), step=333)
        answer = put(alone("sizelimit", app, **LIMITS), stream, chunked=True, **request_)
        assert (answer.code, answer.reason) == (413, "too_large")
        assert app.bodies == []
        assert all(one.closed == 1 for one in app.answers)


@pytest.mark.parametrize(
    ("profile", "caps", "limit"),
    [
        ("none", {}, 1 << 40),
        ("huawei", {}, 2 << 30),
        ("otc", {}, 128 << 30),
        ("otc", {"image_size_cap": "1000"}, 1000),
        ("huawei", {"upload_size_cap": "3000000000"}, 3_000_000_000),
        ("none", {"upload_size_cap": "1000"}, 1000),
        ("none", {"upload_size_cap": "1000", "image_size_cap": "500"}, 500),
    ],
)
def test_a_profile_limits_uploads(tmp_path, profile, caps, limit):
    file = tmp_path / "imsgate.conf"
    file.write_text(f"[ims]\nprofile = {profile}\n")
    app = apps.App()
    filtered = sizelimit.filter_factory({"config_file": str(file)}, **caps)(app)
    assert put(filtered, servers.Input(b""), length=limit).code == 200
    stream = servers.Input(b"")
    assert put(filtered, stream, length=limit + 1).reason == "too_large"
    assert (len(app.environs), stream.asked) == (1, 0)


def test_an_unknown_profile_is_refused(tmp_path):
    file = tmp_path / "imsgate.conf"
    file.write_text("[ims]\nprofile = moon\n")
    with pytest.raises(errors.BadConfig) as caught:
        sizelimit.filter_factory({"config_file": str(file)})
    assert caught.value.key == "[ims] profile"


@pytest.mark.parametrize("resumable", [True, False])
def test_a_client_that_resumes_uploads_is_told_the_limit(alone, resumable):
    headers = {"HTTP_UPLOAD_COMPLETE": "?0"} if resumable else {}
    filtered = alone("sizelimit", apps.App(), **LIMITS)
    answer = put(filtered, servers.Input(b""), length=int(LIMITS["image_size_cap"]) + 1, **headers)
    assert answer.code == 413
    expected = f"max-size={LIMITS['image_size_cap']}" if resumable else None
    assert dict(answer.headers).get("Upload-Limit") == expected


def test_the_size_header_counts_as_an_announcement(alone):
    app = apps.App()
    filtered = alone("sizelimit", app, **LIMITS)
    answer = put(filtered, chunked=True, HTTP_X_OPENSTACK_IMAGE_SIZE="1001")
    refused(answer, app, 413, "too_large")


def test_a_wrong_size_header_does_not_help(alone):
    app = apps.App(apps.by(100))
    filtered = alone("sizelimit", app, **LIMITS)
    answer = put(filtered, bytes(1001), chunked=True, HTTP_X_OPENSTACK_IMAGE_SIZE="10")
    assert answer.reason == "too_large"


def test_no_byte_behind_the_content_length_is_read(alone):
    app, stream = apps.App(apps.by(100)), servers.Input(bytes(2000))
    assert put(alone("sizelimit", app, **LIMITS), stream, length=50).code == 200
    assert (app.bodies, stream.given) == ([bytes(50)], 50)


@pytest.mark.parametrize("how", apps.ReadFails.HOW)
@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(lambda: servers.Input(bytes(80)), id="silent-end"),
        pytest.param(lambda: servers.Input(bytes(80), fails=ConnectionResetError()), id="reset"),
        pytest.param(lambda: servers.Input(bytes(80), fails=EOFError("chunk")), id="bad-chunk"),
        pytest.param(lambda: servers.Input(b""), id="nothing"),
    ],
)
def test_a_cut_body_is_never_taken_for_a_whole_one(alone, stream, how):
    app = apps.ReadFails(how)
    answer = put(alone("sizelimit", app, **LIMITS), stream(), length=100)
    assert (answer.code, answer.reason) == (400, "body_cut")
    assert app.bodies == []


def test_an_exploding_chunked_body_is_cut(alone):
    app = apps.ReadFails("passes", 10)
    stream = servers.Input(bytes(80), fails=OSError("a server's own error"))
    answer = put(alone("sizelimit", app, **LIMITS), stream, chunked=True)
    assert (answer.code, answer.reason) == (400, "body_cut")
    assert isinstance(app.failed, errors.BodyCut)
    assert app.failed.details == {"received": 80}


def test_a_body_whose_end_cannot_be_known_is_refused(alone):
    app = apps.App()
    entries = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": None}
    refused(put(alone("sizelimit", app), **entries), app, 411, "length_required")


def test_a_request_without_a_body_has_none(alone):
    app = apps.App(apps.by(10))
    filtered = alone("sizelimit", app)
    stream = servers.Input(b"of the next request")
    assert put(filtered, stream, REQUEST_METHOD="GET").code == 200
    assert (app.bodies, stream.asked) == ([b""], 0)


@pytest.mark.parametrize("reason", ["+5", "0x10", "5_0"])
def test_an_invalid_length_is_refused(alone, reason):
    app = apps.App()
    answer = servers.serve(
        alone("sizelimit", app),
        servers.environ(CONTENT_LENGTH=reason, REQUEST_METHOD="POST"),
        validated=False,
    )
    refused(answer, app, 400, "bad_header")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size_cap", "0"),
        ("image_size_cap", "much"),
        ("upload_size_cap", "0"),
        ("max_metadata_size", "-1"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(alone, key, value):
    with pytest.raises(errors.BadConfig) as caught:
        alone("sizelimit", apps.App(), **{key: value})
    assert caught.value.key == f"sizelimit.{key}"


def test_the_answer_is_what_a_metadata_call_understands(alone):
    app = apps.App(apps.by(10))
    answer = post(alone("sizelimit", app, **LIMITS), bytes(101), HTTP_ACCEPT="application/json")
    assert answer.header("Content-Type").startswith("application/json")


@pytest.mark.parametrize("name", ["headers", "sizelimit"])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_path_that_does_not_exist_is_404_whatever_its_body(alone, name, method):
    def no_route(environ, start_response):
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return []

    stream = servers.Input(b"")
    entries = {"REQUEST_METHOD": method, "PATH_INFO": f"{FILE}/disk.img"}
    answer = put(alone(name, no_route), stream, length=3 << 20, **entries)
    assert (answer.code, stream.asked) == (404, 0)
