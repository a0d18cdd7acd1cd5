"""A strict IMS on a real socket: it enforces what the vendor documents, and fails as a test says.

Signatures are checked with the vendor's own signer.
"""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import socket
import struct
import sys
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.functional import huawei
from tests.functional.conftest import needs

if huawei.AVAILABLE:
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkcore.sdk_request import SdkRequest
    from huaweicloudsdkcore.signer.signer import Signer

ACCESS, SECRET, PROJECT = "CLOUDKEY000000000000", "the-secret-of-the-cloud", "0b1e494e2660441a"
MAX_SIGNED, MAX_FILE, MAX_OBJECT = 12 << 20, 2 << 30, 128 << 30

#: The data of an object in a bucket; None if there is none.
Read = Callable[[str, str], Iterable[bytes] | None]

_HEX = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass
class Answer(Exception):
    """The answer to a request; raised where it is a refusal."""

    status: int
    body: Any = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


def img(code: str, message: str, status: int = 400) -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}})


def apigw(status: int, code: str, message: str, **headers: str) -> Answer:
    body = {"error_code": code, "error_msg": message, "request_id": "r-1"}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, body, {"Server": "api-gateway", **named})


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to the next request that matches ``request`` (method, space and path).

    ``answer`` is given without processing it. Without one the connection is cut, after the request
    was processed if ``processed``.
    """

    request: str
    answer: Answer | None = None
    processed: bool = False


class Ims:
    """The service. It has ``images``, ``jobs``, and what it has imported by image in ``data``."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.keys = {ACCESS: (SECRET, PROJECT)}
        self.images: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.data: dict[str, tuple[int, str]] = {}
        #: All requests in their order: method, space, path.
        self.asked: list[str] = []
        self.faults: list[Fault] = []
        #: The code and reason with which registrations fail.
        self.failing: tuple[str, str] | None = None
        #: Whether it has the newer path of jobs, as Huawei's has and OTC's has not.
        self.has_new_jobs = True
        #: Queries after which a job is done.
        self.polls = 2
        #: Whether objects are read on a thread of their own, which long ones need.
        self.in_background = False
        #: Called for each request, before it is processed (False) and afterwards (True).
        self.watch: Callable[[bool], object] | None = None
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def queued(self, project: str = PROJECT, **fields: Any) -> str:
        """A new image without data; its id."""
        with self._lock:
            return str(self._create(project, {"name": "n", "disk_format": "raw", **fields})["id"])

    def jobs_of(self, image_id: str) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if job["entities"]["image_id"] == image_id]

    def tell(self, processed: bool) -> None:
        watch = self.watch
        if watch is not None:
            watch(processed)

    def count(self, request: str) -> int:
        return sum(bool(re.fullmatch(request, each)) for each in self.asked)

    # Requests

    def answer(
        self, method: str, target: str, headers: Any, body: bytes
    ) -> tuple[Answer, Fault | None]:
        path, _, query = target.partition("?")
        with self._lock:
            self.asked.append(f"{method} {path}")
            matching = (f for f in self.faults if re.fullmatch(f.request, f"{method} {path}"))
            fault = next(matching, None)
            if fault is not None:
                self.faults.remove(fault)
                if fault.answer is not None:
                    return fault.answer, None
                if not fault.processed:
                    return Answer(500), fault
            try:
                project = self._project(method, path, query, headers, body)
                found = self._route(project, method, path, query, headers, body)
            except Answer as refusal:
                found = refusal
            return found, fault

    def _project(self, method: str, path: str, query: str, headers: Any, body: bytes) -> str:
        """The project of a request whose signature is valid."""
        wrong = "Incorrect IAM authentication information: "
        text = headers.get("Authorization", "")
        match = re.fullmatch(
            r"SDK-HMAC-SHA256 Access=(\w+), SignedHeaders=([\w;-]+), Signature=(\w+)", text
        )
        if not match or _HEX.fullmatch(match[3]) is None:
            raise apigw(401, "APIGW.0301", wrong + "x-auth-token not found")
        if match[1] not in self.keys:
            raise apigw(401, "APIGW.0301", wrong + f"ak {match[1]} not exist")
        if len(body) > MAX_SIGNED:
            problem = "calc aksk signature fail:body too large"
            raise apigw(401, "APIGW.0301", wrong + problem)
        secret, project = self.keys[match[1]]
        signed = {name.title(): headers[name] for name in match[2].split(";")}
        request = SdkRequest(
            method,
            "http",
            headers["Host"],
            urllib.parse.unquote(path),
            query_params=urllib.parse.parse_qsl(query, keep_blank_values=True),
            header_params=signed,
            body=body,
        )
        Signer(BasicCredentials(match[1], secret, project)).sign(request)
        if request.header_params["Authorization"] != text:
            raise apigw(401, "APIGW.0301", wrong + "verify aksk signature fail")
        if headers.get("X-Project-Id", project) != project:
            raise apigw(403, "APIGW.0302", "the project is not that of the key")
        return project

    def _route(
        self, project: str, method: str, path: str, query: str, headers: Any, body: bytes
    ) -> Answer:
        table: list[tuple[str, Callable[..., Answer]]] = [
            ("POST /v2/images", self._post),
            ("GET /v2/images", self._list),
            ("GET /v2/cloudimages", self._list),
            ("GET /v2/images/([^/]+)", self._show),
            ("PATCH /v2/(?:cloud)?images/([^/]+)", self._patch),
            ("DELETE /v2/images/([^/]+)", self._delete),
            ("PUT /v2/images/([^/]+)/file", self._file),
            ("PUT /v1/cloudimages/([^/]+)/upload", self._register),
            ("GET /v1/([^/]+)/jobs/([^/]+)", self._old_job),
        ]
        if self.has_new_jobs:
            table.insert(0, ("GET /v1/cloudimages/job/([^/]+)", self._job))
        for pattern, handler in table:
            if match := re.fullmatch(pattern, f"{method} {path}"):
                about = {"project": project, "query": query, "headers": headers, "body": body}
                return handler(*match.groups(), **about)
        return apigw(404, "APIGW.0101", "The API does not exist")

    def _document(self, headers: Any, body: bytes) -> Any:
        if not headers.get("Content-Type", "").startswith("application/"):
            raise img("IMG.0001", "no content type")
        try:
            return json.loads(body)
        except ValueError:
            raise img("IMG.0001", "malformed") from None

    # Images

    def _post(self, *, project: str, headers: Any, body: bytes, **_: Any) -> Answer:
        fields = self._document(headers, body)
        if fields.get("visibility", "private") != "private":
            raise img("IMG.0035", "only private")
        if len(fields.get("name", "")) > 128:
            raise img("IMG.0002", "the name is too long")
        return Answer(201, self._create(project, fields))

    def _create(self, project: str, fields: dict[str, Any]) -> dict[str, Any]:
        image_id = str(uuid.uuid4())
        self.images[image_id] = {
            "name": "",
            "disk_format": "zvhd2",
            "container_format": "bare",
            "min_disk": 0,
            "min_ram": 0,
            "protected": False,
            "tags": [],
            **fields,
            "id": image_id,
            "visibility": "private",
            "status": "queued",
            "owner": project,
            "__isregistered": "true",
            "__image_size": "0",
            "self": f"{self.url}/v2/images/{image_id}",
            "file": f"/v2/images/{image_id}/file",
            "schema": "/v2/schemas/image",
        }
        return self.images[image_id]

    def _seen(self, image_id: str, project: str) -> dict[str, Any]:
        image = self.images.get(image_id)
        if image is None or (image["owner"] != project and image["visibility"] == "private"):
            raise Answer(404, {"error": {"code": "IMG.0144", "message": "does not exist"}})
        return image

    def _list(self, *, project: str, query: str, **_: Any) -> Answer:
        asked = dict(urllib.parse.parse_qsl(query))
        own = [dict(each) for each in self.images.values() if each["owner"] == project]
        ids = [each["id"] for each in own]
        start = ids.index(asked["marker"]) + 1 if "marker" in asked else 0
        return Answer(200, {"images": own[start : start + int(asked.get("limit", 25))]})

    def _show(self, image_id: str, *, project: str, **_: Any) -> Answer:
        image = self._seen(image_id, project)
        for job in self.jobs.values():
            if job["entities"]["image_id"] == image_id:
                self._advance(job)
        return Answer(200, dict(image))

    def _patch(self, image_id: str, *, project: str, headers: Any, body: bytes, **_: Any) -> Answer:
        image = self._seen(image_id, project)
        for change in self._document(headers, body):
            image[change["path"].removeprefix("/")] = change["value"]
        return Answer(200, dict(image))

    def _delete(self, image_id: str, *, project: str, **_: Any) -> Answer:
        image = self._seen(image_id, project)
        if image["protected"]:
            raise img("IMG.0091", "it is protected")
        del self.images[image_id]
        return Answer(204)

    def _file(self, image_id: str, **_: Any) -> Answer:
        """The vendor has deprecated it. A bridge has no use for it."""
        raise img("IMG.0105", "this call is no longer offered")

    # Registrations

    def _register(
        self, image_id: str, *, project: str, headers: Any, body: bytes, **_: Any
    ) -> Answer:
        url = self._document(headers, body).get("image_url", "")
        bucket, colon, key = url.partition(":")
        if not colon or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) or not key:
            raise img("IMG.0017", "malformed URL")
        if image_id not in self.images:
            raise img("IMG.0144", "the image does not exist")
        image = self._seen(image_id, project)
        if image["status"] != "queued":
            raise img("IMG.0046", "the image is not in a usable state")
        if not next(iter(self._read(bucket, key) or ()), b""):
            raise img("IMG.0057", "the object does not exist, or is empty")
        job = {
            "job_id": uuid.uuid4().hex,
            "job_type": "imsNativeImportImageJob",
            "status": "INIT",
            "begin_time": "2026-11-06T07:14:54.848Z",
            "end_time": "",
            "error_code": None,
            "fail_reason": None,
            "entities": {"image_id": image_id},
            "owner": project,
            "object": (bucket, key),
            "left": self.polls,
        }
        self.jobs[job["job_id"]] = job
        image["status"] = "saving"
        return Answer(200, {"job_id": job["job_id"]})

    def register_late(self, image_id: str, url: str) -> None:
        """A request to register arrives whose client has given it up."""
        body = json.dumps({"image_url": url}).encode()
        with self._lock:
            headers = {"Content-Type": "application/json"}
            self._register(image_id, project=PROJECT, headers=headers, body=body)

    def _content(self, bucket: str, key: str) -> tuple[int, str] | None:
        chunks, size, digest = self._read(bucket, key), 0, hashlib.sha256()
        for chunk in chunks or ():
            size += len(chunk)
            digest.update(chunk)
        return (size, digest.hexdigest()) if 0 < size <= MAX_OBJECT else None

    def _advance(self, job: dict[str, Any]) -> None:
        if job["status"] not in ("INIT", "RUNNING"):
            return
        job["left"] -= 1
        job["status"] = "RUNNING"
        if job["left"] > 0:
            return
        if self.in_background:
            if job["left"] == 0:
                threading.Thread(target=self._import, args=(job,), daemon=True).start()
        else:
            self._import(job)

    def _import(self, job: dict[str, Any]) -> None:
        """The end of a job."""
        content = self._content(*job["object"])
        with self._lock:
            self._end(job, content)

    def _end(self, job: dict[str, Any], content: tuple[int, str] | None) -> None:
        image = self.images.get(job["entities"]["image_id"])
        failure = self.failing or (None if content else ("IMG.0057", "the object is gone"))
        job["end_time"] = "2026-11-06T07:15:54.848Z"
        if failure or image is None:
            job["status"] = "FAIL"
            job["error_code"], job["fail_reason"] = failure or ("IMG.0144", "no such image")
            if image is not None:
                image["status"] = "queued"
            return
        assert content is not None
        self.data[image["id"]] = content
        image.update({"status": "active", "__image_size": str(content[0])})
        job["status"] = "SUCCESS"

    def _job(self, job_id: str, *, project: str, **_: Any) -> Answer:
        job = self.jobs.get(job_id)
        if job is None or job["owner"] != project:
            raise img("IMG.0023", "the job query failed")
        self._advance(job)
        hidden = ("owner", "object", "left")
        return Answer(200, {name: value for name, value in job.items() if name not in hidden})

    def _old_job(self, named: str, job_id: str, *, project: str, **more: Any) -> Answer:
        if named != project:
            raise apigw(403, "APIGW.0302", "the project is not that of the key")
        return self._job(job_id, project=project, **more)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Bridges that are killed reset their connections."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _handler(ims: Ims) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            ims.tell(False)
            answer, fault = ims.answer(self.command, self.path, self.headers, body)
            ims.tell(True)
            if fault is not None:
                self.close_connection = True
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                return
            content = b"" if answer.body is None else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, text in answer.headers.items():
                self.send_header(name, text)
            if answer.status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def chunks(client: Any, bucket: str, key: str) -> Iterable[bytes] | None:
    """The data of an object on an S3 server; None if there is none."""
    with contextlib.suppress(client.exceptions.ClientError):
        found: Iterable[bytes] = client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(
            1 << 20
        )
        return found
    return None


@contextlib.contextmanager
def serving(read: Read, *, in_background: bool = False) -> Iterator[Ims]:
    needs(huawei.AVAILABLE, "huaweicloudsdkcore")
    ims = Ims(read)
    ims.in_background = in_background
    try:
        yield ims
    finally:
        ims.close()
