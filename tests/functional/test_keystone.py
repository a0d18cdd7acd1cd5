"""In an OpenStack stack: a real Keystone, its catalog, and the unchanged ``openstack`` client."""

import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.functional import importing, programs
from tests.functional.conftest import needs_program
from tests.functional.gateway import HOST, clean_env, serving
from tests.functional.keystone import REGION, Keystone, StackGateway, config
from tests.sources import web_server

DATA = b"not much of a disk" * 4096

Client = Callable[..., Any]


@pytest.fixture
def openstack(stack: StackGateway, keystone: Keystone, tmp_path: pathlib.Path) -> Client:
    """Run ``openstack`` as a user; what it prints, from JSON where it prints that.

    With ``refused``, it must fail and say that.
    """
    program = needs_program("openstack")
    clouds = tmp_path / "clouds.yaml"
    keystone.clouds(clouds)
    env = clean_env(tmp_path, OS_CLIENT_CONFIG_FILE=str(clouds))

    def run(user: str, line: str, refused: str = "", **places: object) -> Any:
        args = [word.format(**places) for word in line.split()]
        done = programs.run([program, "--os-cloud", user, *args], env, tmp_path)
        assert (done.returncode != 0) is bool(refused), done.stdout + done.stderr
        assert refused in done.stderr, done.stderr
        return json.loads(done.stdout) if "-f json" in line and not refused else done.stdout

    return run


def test_one_image_and_its_owner(openstack: Client, stack: StackGateway, tmp_path: Any) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(DATA)
    made = openstack(
        "demo",
        "image create -f json --disk-format raw --container-format bare "
        "--property os_distro=debian --tag web --file {disk} disk",
        disk=disk,
    )
    assert (made["status"], made["size"], made["visibility"]) == ("active", len(DATA), "shared")
    image = made["id"]
    openstack("demo", "image save --file saved {image}", image=image)
    assert (tmp_path / "saved").read_bytes() == DATA
    openstack("demo", "image set --name renamed --property a=b --tag db {image}", image=image)
    openstack("demo", "image unset --property os_distro --tag web {image}", image=image)
    shown = openstack("demo", "image show -f json {image}", image=image)
    assert (shown["name"], shown["tags"], shown["properties"]["a"]) == ("renamed", ["db"], "b")
    assert "os_distro" not in shown["properties"]

    listed = openstack("demo", "image list -f json --tag db --property a=b --status active")
    assert [row["ID"] for row in listed] == [image]
    assert openstack("demo", "image list -f json --name nothing") == []
    openstack("demo", "image set --protected {image}", image=image)
    openstack("demo", "image delete {image}", refused="protected", image=image)
    openstack("demo", "image set --unprotected --hidden {image}", image=image)
    assert openstack("demo", "image list -f json --tag db") == []
    assert len(openstack("demo", "image list -f json --hidden --tag db")) == 1

    stores = openstack("demo", "image stores list -f json")
    assert {store["ID"] for store in stores} == {"fast", "archive", "shaky"}
    openstack("demo", "image delete {image}", image=image)
    openstack("demo", "image show {image}", refused="No Image found", image=image)
    assert not stack.residue(image)


def test_imports(openstack: Client, stack: StackGateway, tmp_path: Any) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(DATA)
    places = {"image": stack.create(name="staged"), "disk": disk}
    openstack("demo", "image stage --file {disk} {image}", **places)
    # The client does not look at the answer to an import.
    for user, project, status in (("reader", "demo", 403), ("alt", "alt", 404)):
        token = stack.keystone.token(user, project)
        answer = importing.begin(stack, places["image"], "glance-direct", token)
        assert answer.status == status
    openstack("demo", "image import --method glance-direct {image}", **places)
    assert importing.ended(stack, places["image"])["status"] == "success"
    assert stack.download(places["image"]).body == DATA
    copied = importing.begin(stack, places["image"], "copy-image", all_stores=True)
    assert copied.outcome == (403, "forbidden")
    with web_server.serving() as source:
        source.routes["/image"] = web_server.whole(DATA)
        places = {"image": stack.create(name="downloaded"), "url": f"{source.url}/image"}
        openstack("demo", "image import --method web-download --uri {url} {image}", **places)
        assert importing.ended(stack, places["image"])["status"] == "success"
    assert stack.download(places["image"]).body == DATA


REMOTE = """
[DEFAULT]
enabled_import_methods = [glance-download]

[import_filtering_opts]
allowed_ports = []

[jobs]
poll = 0.2
"""


def test_an_image_of_another_region(
    stack: StackGateway, keystone: Keystone, start: Callable[..., Any]
) -> None:
    """Private addresses are refused to users here, but not to the service of the catalog."""
    here = start(REMOTE, keystone)
    source = stack.stored(DATA, os_distro="debian", hw_disk_bus="scsi", speed="88mph")
    theirs = stack.create(token=keystone.token("alt"), visibility="private")
    method = {"name": "glance-download", "glance_region": REGION, "glance_image_id": source}
    cases = {
        "": {},
        "public glance endpoint not found for region Elsewhere": {"glance_region": "Elsewhere"},
        "internal glance endpoint not": {"glance_service_interface": "internal"},
        "the server answered 404": {"glance_image_id": theirs},
        "should be active instead of queued": {"glance_image_id": stack.create()},
    }
    for problem, changes in cases.items():
        image = here.create(disk_format="iso", os_distro="windows", hw_cpu_cores="1")
        body = {"method": {**method, **changes}}
        assert here.call("POST", f"/v2/images/{image}/import", body).status == 202
        task, record = importing.ended(here, image), here.show(image)
        assert task["status"] == ("failure" if problem else "success"), task
        assert problem in task["message"], task
        shown = {name: record.get(name) for name in ("disk_format", "os_distro", "hw_disk_bus")}
        if problem:
            assert (record["status"], *shown.values()) == ("queued", "iso", "windows", None)
            assert not here.residue(image)
            continue
        assert shown == {"disk_format": "raw", "os_distro": "debian", "hw_disk_bus": "scsi"}
        assert (record["hw_cpu_cores"], record.get("speed")) == ("1", None)
        assert record["os_hash_value"] == stack.show(source)["os_hash_value"]
        assert here.download(image).body == DATA


def test_locations_are_for_services(stack: StackGateway, keystone: Keystone) -> None:
    image = f"/v2/images/{stack.create(name='located')}/locations"
    service = {"X-Service-Token": keystone.token("svc", "service")}
    body = {"url": "file:///etc/passwd"}
    assert stack.call("POST", image, body).outcome == (403, "forbidden")
    assert stack.call("GET", image).outcome == (403, "forbidden")
    answer = stack.call("POST", image, body, headers=service)
    assert answer.outcome == (400, "location_refused")
    assert stack.call("GET", image, headers=service).json == []
    assert stack.call("POST", image, body, token=service["X-Service-Token"]).status == 404


def test_what_a_reader_may(openstack: Client, stack: StackGateway) -> None:
    image = stack.create(name="read-only")
    stack.upload(image, DATA)
    assert openstack("reader", "image show -f json {image}", image=image)["status"] == "active"
    for line in ("create new", "set --name x {image}", "delete {image}"):
        openstack("reader", f"image {line}", refused="403", image=image)
    # The client takes the refusal for the data, and then finds that it is not.
    openstack("reader", "image save --file f {image}", refused="Unable to download", image=image)


def test_sharing_with_another_project(
    openstack: Client, stack: StackGateway, keystone: Keystone
) -> None:
    image = stack.create(name="to-share")
    places = {"image": image, "project": keystone.id("project", "alt")}
    openstack("alt", "image show {image}", refused="No Image found", **places)
    openstack("demo", "image add project {image} {project}", **places)
    assert openstack("alt", "image list -f json --shared --member-status pending") != []
    assert openstack("alt", "image list -f json --shared") == []
    openstack("alt", "image set --accept {image}", **places)
    listed = openstack("alt", "image list -f json --shared")
    assert [row["ID"] for row in listed] == [image]
    openstack("alt", "image set --name mine {image}", refused="403", **places)
    members = openstack("demo", "image member list -f json {image}", **places)
    assert [(row["Member ID"], row["Status"]) for row in members] == [
        (places["project"], "accepted")
    ]
    openstack("demo", "image remove project {image} {project}", **places)
    openstack("alt", "image show {image}", refused="No Image found", **places)


def test_what_only_an_administrator_may(openstack: Client, stack: StackGateway) -> None:
    image = stack.create(name="for-all")
    openstack("demo", "image set --public {image}", refused="403", image=image)
    openstack("admin", "image set --public {image}", image=image)
    assert openstack("alt", "image show -f json {image}", image=image)["visibility"] == "public"
    openstack("demo", "image stores list --detail", refused="403")
    detail = openstack("admin", "image stores list -f json --detail")
    assert all(store["Properties"] for store in detail)
    openstack("admin", "image delete {image}", image=image)


# Tokens


@pytest.mark.parametrize(
    "scope",
    [{"system_scope": "all"}, {"domain_id": "default"}, {"unscoped": True}],
    ids=["system", "domain", "unscoped"],
)
def test_other_scopes_than_a_project_get_nothing(
    stack: StackGateway, keystone: Keystone, scope: dict[str, Any]
) -> None:
    user, role = keystone.id("user", "admin"), keystone.id("role", "admin")
    keystone.call("PUT", f"/domains/default/users/{user}/roles/{role}")
    token = keystone.token("admin", **scope)
    assert stack.call("GET", "/v2/images", token=token).status == 403
    assert stack.call("POST", "/v2/images", {}, token=token).status == 403
    image = f"/v2/images/{stack.create()}"
    assert stack.call("GET", image, token=token).status == 404


@pytest.mark.parametrize("token", [None, "forged", "gAAAAA" * 30])
def test_a_401_says_where_keystone_is(
    stack: StackGateway, keystone: Keystone, token: str | None
) -> None:
    forged = {"X-Identity-Status": "Confirmed", "X-Roles": "admin", "X-Project-Id": "p"}
    answer = stack.call("GET", "/v2/images", token=token, headers=forged)
    assert answer.outcome == (401, "unauthenticated")
    assert answer.headers.get_all("WWW-Authenticate") == [f'Keystone uri="{keystone.url}"']
    assert stack.call("GET", "/versions", token=token).status == 200


def test_services_see_what_users_do_not(stack: StackGateway, keystone: Keystone) -> None:
    detail = "/v2/info/stores/detail"
    service = keystone.token("svc", "service")
    assert stack.call("GET", detail).status == 403
    assert stack.call("GET", detail, token=service).status == 200
    assert stack.call("GET", detail, headers={"X-Service-Token": service}).status == 200


# Configuration


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("", "[keystone_authtoken] auth_type"),
        ("[keystone_authtoken]\nauth_type = nothing\n", "[keystone_authtoken]"),
        ("[paste_deploy]\nflavor = nothing\n", "nothing"),
    ],
    ids=["no-section", "no-plugin", "no-flavor"],
)
def test_what_cannot_work_refuses_to_start(tmp_path: pathlib.Path, more: str, named: str) -> None:
    conf = tmp_path / "imsgate.conf"
    conf.write_text(more if "flavor" in more else "[paste_deploy]\nflavor = keystone\n" + more)
    command = [
        *(needs_program("imsgate"), "serve", "--config-file", conf),
        *("--state", tmp_path / "state", "--bind", f"{HOST}:0", "--workers", "1"),
    ]
    done = programs.run(command, clean_env(tmp_path), tmp_path)
    assert done.returncode != 0
    assert named in done.stderr


# Unified limits

OVER = (413, "limit_exceeded")
UNIFIED = """
[DEFAULT]
use_keystone_limits = true
[oslo_limit]
auth_url = {url}
auth_type = password
username = svc
password = svc
user_domain_name = Default
system_scope = all
endpoint_service_type = image
endpoint_region_name = RegionOne
"""


def limit(keystone: Keystone, resource: str, amount: int, project: str = "") -> None:
    """Register a limit for every project, or set that of one."""
    kind, amount_of = ("limits", "resource_limit") if project else (
        "registered_limits", "default_limit"
    )  # fmt: skip
    body: dict[str, Any] = {
        "service_id": keystone.id("service", "imsgate"),
        "region_id": REGION,
        "resource_name": resource,
        amount_of: amount,
    }
    if project:
        body["project_id"] = keystone.id("project", project)
    keystone.call("POST", f"/{kind}", {kind: [body]})


@pytest.fixture(scope="module")
def unified(
    keystone: Keystone, _stack: StackGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackGateway]:
    """A second gateway of the stack, with Keystone's limits."""
    user, role = keystone.id("user", "svc"), keystone.id("role", "reader")
    keystone.call("PUT", f"/system/users/{user}/roles/{role}")
    limit(keystone, "image_size_total", 1)
    limit(keystone, "image_stage_total", 0)
    limit(keystone, "image_count_total", 5)
    limit(keystone, "image_count_uploading", -1)
    limit(keystone, "image_size_total", 3, "demo")
    conf = config(keystone) + UNIFIED.format(url=keystone.url)
    directory = tmp_path_factory.mktemp("unified")
    with serving(StackGateway(directory, keystone, config=conf, workers=1)) as gateway:
        yield gateway


def test_limits_of_keystone(
    unified: StackGateway, keystone: Keystone, tmp_path: pathlib.Path
) -> None:
    alt = unified.token("alt")
    sizes = [(3, ""), (1, alt)]
    for mib, token in sizes:
        first, second = (unified.create(token=token) for _ in range(2))
        assert unified.upload(first, bytes(mib << 20), token=token).status == 204
        assert unified.upload(second, b"x", token=token).outcome == OVER
        stage = f"/v2/images/{second}/stage"
        kind = {"Content-Type": "application/octet-stream"}
        assert unified.call("PUT", stage, b"x", token=token, headers=kind).outcome == OVER

    command = [
        *(needs_program("glance"), "--os-image-url", unified.url),
        *("--os-auth-token", alt, "--os-auth-url", keystone.url, "usage"),
    ]
    told = programs.run(command, clean_env(tmp_path), tmp_path)
    assert told.returncode == 0, told.stderr
    rows = [line.replace("|", " ").split() for line in told.stdout.splitlines()]
    assert ["image_size_total", "1", "1"] in rows, told
    assert ["image_count_total", "5", "2"] in rows, told
    assert ["image_count_uploading", "-1", "0"] in rows, told
