"""Stage and import over a real gateway, by raw calls and by unchanged clients."""

import gzip
import hashlib
import lzma
import os
import signal
import threading

import pytest

from tests.functional import images, programs
from tests.functional.conftest import needs_program
from tests.functional.gateway import PATIENCE, Gateway, clean_env, eventually, serving, stopped
from tests.functional.importing import (
    BODY,
    FAST,
    STORES,
    WEB,
    Worker,
    assert_active,
    begin,
    ended,
    slow,
    stage,
    task,
)
from tests.sources import web_server


@pytest.fixture(scope="module")
def _importing(tmp_path_factory):
    directory = tmp_path_factory.mktemp("importing")
    with serving(Gateway(directory, config=STORES + FAST + WEB)) as gateway:
        yield gateway


@pytest.fixture
def importing(_importing):
    yield _importing
    _importing.check_log()


def test_staged_data_waits_and_is_imported(importing):
    image_id = importing.create()
    assert stage(importing, image_id).status == 204
    record = importing.show(image_id)
    assert record["status"] == "uploading"
    assert "stores" not in record
    assert importing.download(image_id).status == 204
    assert stage(importing, image_id).outcome == (204, None)  # the same data
    assert importing.upload(image_id, BODY).outcome == (409, "wrong_status")
    assert begin(importing, image_id, "glance-direct").status == 202
    found = ended(importing, image_id)
    assert (found["status"], found["type"]) == ("success", "api_image_import")
    assert_active(importing, image_id, BODY, ["fast"])


@pytest.mark.parametrize(
    ("where", "stores"),
    [
        ({"stores": ["archive"]}, ["archive"]),
        ({"stores": ["archive", "third"]}, ["archive", "third"]),
        ({"stores": ["third", "fast"]}, ["third", "fast"]),
        ({"all_stores": True}, ["fast", "archive", "third"]),
        ({"all_stores": True, "all_stores_must_succeed": False}, ["fast", "archive", "third"]),
    ],
    ids=str,
)
def test_staged_data_goes_to_the_stores_asked_for(importing, where, stores):
    image_id = importing.create()
    assert stage(importing, image_id).status == 204
    assert begin(importing, image_id, "glance-direct", **where).status == 202
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, stores)


def test_copies(importing):
    image_id = importing.stored(BODY)
    assert begin(importing, image_id, "copy-image", all_stores=True).outcome == (403, "forbidden")
    refused = begin(importing, image_id, "copy-image", importing.admin, stores=["fast"])
    assert refused.outcome == (400, "bad_request")
    started = begin(importing, image_id, "copy-image", importing.admin, stores=["archive"])
    assert started.status == 202
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, ["fast", "archive"])
    started = begin(importing, image_id, "copy-image", importing.admin, all_stores=True)
    assert started.status == 202
    eventually(lambda: "third" in importing.show(image_id)["stores"], "the third copy")
    assert ended(importing, image_id)["progress"] == {"bytes": len(BODY), "total": len(BODY)}
    assert_active(importing, image_id, BODY, ["fast", "archive", "third"])


# web-download

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def source():
    with web_server.serving() as server:
        yield server


def test_download_is_an_image(importing, source):
    source.routes["/image"] = web_server.cut(1_000_000, data=BODY)
    image_id = importing.create()
    digest = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    uri = f"{source.url}/image"
    more = {"digest": digest, "all_stores": True, "headers": {"traceparent": TRACEPARENT}}
    started = begin(importing, image_id, "web-download", uri=uri, **more)
    assert started.status == 202
    assert begin(importing, image_id, "web-download", uri=uri).outcome == (409, "wrong_status")
    found = ended(importing, image_id)
    assert found["status"] == "success"
    assert found["progress"] == {"bytes": 3 * len(BODY), "total": 3 * len(BODY)}
    assert_active(importing, image_id, BODY, ["fast", "archive", "third"])
    traces = {headers["traceparent"][:35] for _, headers in source.seen}
    assert traces == {TRACEPARENT[:35]}  # the trace of the request, in each request of its job


@pytest.mark.parametrize(
    ("body", "digest", "code"),
    [
        (images.BACKING_FILE, None, "image_refused"),
        (BODY, f"sha256:{'0' * 64}", "digest_mismatch"),
        (None, None, "source_failed"),
    ],
    ids=["unsafe", "digest", "missing"],
)
def test_refused_download_leaves_nothing(importing, source, body, digest, code):
    if body is not None:
        source.routes["/image"] = web_server.whole(body)
    image_id = importing.create()
    more = {"digest": digest} if digest else {}
    uri = f"{source.url}/image"
    started = begin(importing, image_id, "web-download", uri=uri, stores=["archive"], **more)
    assert started.status == 202
    found = ended(importing, image_id)
    assert (found["status"], found["result"]) == ("failure", {"error_code": code})
    assert found["message"]
    importing.assert_untouched(image_id)
    record = importing.show(image_id)
    assert record["os_glance_failed_import"] == "archive"
    assert record["os_glance_importing_to_stores"] == ""
    assert record["size"] is None
    assert importing.upload(image_id, BODY).status == 204


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "http://169.254.169.254/", "http://[::1]/"])
def test_uri_is_refused_at_once(importing, uri):
    image_id = importing.create()
    refused = begin(importing, image_id, "web-download", uri=uri)
    assert refused.outcome == (400, "uri_refused")
    assert importing.status(image_id) == "queued"


def test_deleting_the_image_cancels(importing, source):
    ready, go_on = threading.Event(), threading.Event()
    source.routes["/image"] = slow(BODY, ready, go_on)
    image_id = importing.create()
    assert begin(importing, image_id, "web-download", uri=f"{source.url}/image").status == 202
    assert ready.wait(PATIENCE)
    assert importing.status(image_id) == "importing"
    eventually(lambda: task(importing, image_id)["progress"]["bytes"], "progress is shown")
    (job,) = importing.call("GET", "/v2/tasks?limit=1", token=importing.admin).json["tasks"]
    assert importing.call("DELETE", f"/v2/images/{image_id}").status == 204
    go_on.set()
    path = f"/v2/tasks/{job['id']}"
    assert importing.call("GET", path).outcome == (403, "forbidden")

    def shown():
        return importing.call("GET", path, token=importing.admin).json

    eventually(lambda: shown()["status"] == "failure", "it ends")
    assert shown()["result"] == {"error_code": "cancelled"}
    eventually(lambda: not importing.residue(image_id), "nothing is left")


# Unpacking


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_compressed_download_is_unpacked(importing, source, pack):
    packed = pack(BODY)
    source.routes["/image"] = web_server.whole(packed)
    image_id = importing.create()
    more = {"digest": f"sha256:{hashlib.sha256(packed).hexdigest()}", "stores": ["archive"]}
    started = begin(importing, image_id, "web-download", uri=f"{source.url}/image", **more)
    assert started.status == 202
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, ["archive"])


def test_compressed_staged_data_is_unpacked(importing):
    image_id = importing.create(container_format="compressed")
    assert stage(importing, image_id, gzip.compress(BODY)).status == 204
    assert begin(importing, image_id, "glance-direct").status == 202
    assert ended(importing, image_id)["status"] == "success"
    assert importing.show(image_id)["container_format"] == "bare"
    assert_active(importing, image_id, BODY, ["fast"])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (lambda: gzip.compress(images.BACKING_FILE), "image_refused"),
        (lambda: gzip.compress(gzip.compress(BODY)), "format_mismatch"),
        (lambda: gzip.compress(BODY)[:-4], "image_refused"),
        (lambda: lzma.compress(bytes(256 << 20), preset=0), "image_refused"),
    ],
    ids=["unsafe", "nested", "cut", "bomb"],
)
def test_bad_data_inside_is_refused(importing, source, data, code):
    source.routes["/image"] = web_server.whole(data())
    image_id = importing.create()
    uri = f"{source.url}/image"
    assert begin(importing, image_id, "web-download", uri=uri).status == 202
    assert ended(importing, image_id)["result"] == {"error_code": code}
    importing.assert_untouched(image_id)


# Stores that fail


@pytest.fixture
def full(importing):
    """The store ``third`` cannot be written while this lasts."""
    place = importing.state / "third"
    if os.geteuid() == 0:
        place.rename(importing.state / "aside")
        place.write_text("no directory")
    else:
        place.chmod(0o500)
    yield
    if os.geteuid() == 0:
        place.unlink()
        (importing.state / "aside").rename(place)
    else:
        place.chmod(0o700)


def test_stores_that_may_fail_are_left_out(importing, full):
    image_id = importing.create()
    assert stage(importing, image_id).status == 204
    some = {"stores": ["third", "archive"], "all_stores_must_succeed": False}
    assert begin(importing, image_id, "glance-direct", **some).status == 202
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, ["archive"])
    assert importing.show(image_id)["os_glance_failed_import"] == "third"


# Workers that die


@pytest.fixture
def workers():
    """Start workers; those that still run at the end are killed."""
    started = []

    def begin(gateway):
        started.append(Worker(gateway))
        return started[-1]

    yield begin
    for worker in started:
        if worker.running:
            worker.end(signal.SIGKILL)


NO_THREADS = STORES + WEB + "[jobs]\nthreads = 0\npoll = 0.1\n"


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_job_of_a_worker_that_is_no_more(start, source, workers, how):
    gateway = start(NO_THREADS)
    ready, go_on = threading.Event(), threading.Event()
    source.routes["/image"] = slow(BODY, ready, go_on)
    image_id = gateway.create()
    assert begin(gateway, image_id, "web-download", uri=f"{source.url}/image").status == 202
    assert task(gateway, image_id)["status"] == "pending"
    first = workers(gateway)
    assert ready.wait(PATIENCE)
    assert gateway.status(image_id) == "importing"
    if how == "killed":
        first.end(signal.SIGKILL)
    else:
        first.send(signal.SIGSTOP)
        eventually(lambda: stopped(first.process.pid), "it is paused")
    gateway.expire_leases()
    ready.clear()
    second = workers(gateway)
    assert ready.wait(PATIENCE)
    assert gateway.status(image_id) == "importing"
    go_on.set()
    assert ended(gateway, image_id)["status"] == "success"
    if how == "paused":
        first.send(signal.SIGCONT)
        fenced = "continues in another worker: another worker has taken it over"
        eventually(lambda: fenced in first.log.read_text(), "it finds itself fenced off")
    eventually(lambda: len(gateway.residue(image_id)) == 1, "one copy is there and no more")
    assert_active(gateway, image_id, BODY, ["fast"])
    assert second.end() == 0
    assert_active(gateway, image_id, BODY, ["fast"])
    assert len(source.seen) == 2


def test_worker_that_is_stopped_hands_its_job_back(start, source, workers):
    """Nobody waits for its lease, and it is no attempt that a worker died of."""
    gateway = start(NO_THREADS + "lease = 600\nattempts = 1\n")
    ready, go_on = threading.Event(), threading.Event()

    def trickling(handler):
        handler.answer(200, {"Content-Length": str(len(BODY))})
        for at in range(0, len(BODY), 1024):
            handler.wfile.write(BODY[at : at + 1024])
            ready.set()
            go_on.wait(0.05)

    source.routes["/image"] = trickling
    image_id = gateway.create()
    assert begin(gateway, image_id, "web-download", uri=f"{source.url}/image").status == 202
    for _ in range(2):
        ready.clear()
        worker = workers(gateway)
        assert ready.wait(PATIENCE)
        assert worker.end(signal.SIGTERM) == 0
        assert task(gateway, image_id)["status"] == "processing"
    go_on.set()
    workers(gateway)
    assert ended(gateway, image_id)["status"] == "success"
    assert_active(gateway, image_id, BODY, ["fast"])


def test_job_outlives_the_service(start, source, tmp_path):
    gateway = start(STORES + WEB + FAST)
    ready, go_on = threading.Event(), threading.Event()
    source.routes["/image"] = slow(BODY, ready, go_on)
    image_id = gateway.create()
    assert begin(gateway, image_id, "web-download", uri=f"{source.url}/image").status == 202
    assert ready.wait(PATIENCE)
    gateway.kill()
    gateway.expire_leases()
    go_on.set()
    gateway.start()
    assert ended(gateway, image_id)["status"] == "success"
    assert_active(gateway, image_id, BODY, ["fast"])


def test_another_server_finishes_what_a_killed_one_began(start, source):
    """Serving processes only; nothing is started again."""
    one = start(STORES + WEB + FAST)
    ready, go_on = threading.Event(), threading.Event()
    source.routes["/image"] = slow(BODY, ready, go_on)
    image_id = one.create()
    assert begin(one, image_id, "web-download", uri=f"{source.url}/image").status == 202
    assert ready.wait(PATIENCE)
    with serving(Gateway(one.directory, config=STORES + WEB + FAST)) as other:
        assert task(other, image_id)["status"] == "processing"
        ready.clear()
        one.kill()
        other.expire_leases()
        assert other.status(image_id) == "importing"
        assert ready.wait(PATIENCE), "the other one begins again"
        go_on.set()
        assert ended(other, image_id)["status"] == "success"
        eventually(lambda: len(other.residue(image_id)) == 1, "one copy is there and no more")
        assert_active(other, image_id, BODY, ["fast"])


def test_worker_that_is_always_killed_gives_up(start, source, workers):
    gateway = start(NO_THREADS + "attempts = 2\n")
    ready, go_on = threading.Event(), threading.Event()
    source.routes["/image"] = slow(BODY, ready, go_on)
    image_id = gateway.create()
    assert begin(gateway, image_id, "web-download", uri=f"{source.url}/image").status == 202
    for _ in range(2):
        ready.clear()
        worker = workers(gateway)
        assert ready.wait(PATIENCE)
        worker.end(signal.SIGKILL)
        gateway.expire_leases()
    workers(gateway)
    assert ended(gateway, image_id)["result"] == {"error_code": "given_up"}
    go_on.set()
    gateway.assert_untouched(image_id)


def test_any_server_finishes_what_another_began(start):
    one = start(STORES + FAST)
    other = Gateway(one.directory, config=STORES + FAST)
    with serving(other):
        image_id = one.create()
        assert stage(one, image_id).status == 204
        assert other.status(image_id) == "uploading"
        assert begin(other, image_id, "glance-direct", stores=["archive"]).status == 202
        assert ended(one, image_id)["status"] == "success"
        for gateway in (one, other):
            assert_active(gateway, image_id, BODY, ["archive"])


# Unchanged clients


def openstack(gateway, *args, token=None):
    needs_program("openstack")
    env = clean_env(
        gateway.directory,
        OS_AUTH_TYPE="admin_token",
        OS_ENDPOINT=f"{gateway.url}/v2",
        OS_TOKEN=token or gateway.admin,
    )
    done = programs.run(["openstack", "image", *args], env, gateway.directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


def glance(gateway, *args):
    needs_program("glance")
    auth = ["--os-auth-token", gateway.admin, "--os-image-url", gateway.url]
    leader, follower = os.openpty()  # glance takes any other stdin for image data
    env, place = clean_env(gateway.directory), gateway.directory
    with open(leader, "rb"), open(follower, "rb") as terminal:
        done = programs.run(["glance", *auth, *args], env, place, terminal.fileno())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "disk.raw"
    path.write_bytes(BODY)
    return str(path)


FORMATS = ("--disk-format", "raw", "--container-format", "bare")


def test_openstack_client(importing, source, file):
    source.routes["/image"] = web_server.whole(BODY)
    image_id = importing.create()
    openstack(importing, "stage", image_id, "--file", file)
    openstack(importing, "import", image_id, "--method", "glance-direct")
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, ["fast"])
    openstack(importing, "import", image_id, "--method", "copy-image", "--all-stores")
    eventually(lambda: "third" in importing.show(image_id)["stores"], "it is copied")
    assert "success" in openstack(importing, "task", "list")
    assert "web-download" in openstack(importing, "import", "info")
    image_id = importing.create()
    uri = f"{source.url}/image"
    openstack(importing, "import", image_id, "--method", "web-download", "--uri", uri)
    assert ended(importing, image_id)["status"] == "success"
    assert_active(importing, image_id, BODY, ["fast"])


def test_glance_client(importing, source, file):
    source.routes["/image"] = web_server.whole(BODY)
    created = ["image-create-via-import", *FORMATS, "--name", "direct"]
    glance(importing, *created, "--import-method", "glance-direct", "--file", file)
    uri = f"{source.url}/image"
    glance(
        importing, *created, "--import-method", "web-download", "--uri", uri, "--all-stores", "True"
    )
    listed = importing.call("GET", "/v2/images?name=direct", token=importing.admin).json["images"]
    held = []
    for record in listed:
        assert ended(importing, record["id"])["status"] == "success"
        held.append(importing.show(record["id"])["stores"].count(","))
        assert_active(
            importing, record["id"], BODY, importing.show(record["id"])["stores"].split(",")
        )
    assert sorted(held) == [0, 2]
    image_id = importing.create(token=importing.admin)
    glance(importing, "image-stage", "--file", file, image_id)
    glance(importing, "image-import", "--import-method", "glance-direct", image_id)
    assert ended(importing, image_id)["status"] == "success"
    assert "success" in glance(importing, "task-list")
