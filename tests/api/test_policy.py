"""Every call is covered by a rule, every rule decides, and the defaults are Glance's."""

import inspect
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from imsgate.api import routes
from imsgate.auth import policy, policy_cache, policy_rules
from imsgate.errors import BadConfig
from tests.api import ims_table, table
from tests.api.stack import ADMIN, MEMBER, OTHER, READER, Stack, who

ROOT = pathlib.Path(__file__).parent.parent.parent
BIN = pathlib.Path(sys.executable).parent

#: What everybody who has authenticated may ask, as in Glance.
OPEN = {
    ("GET", "/versions"),
    ("GET", "/v2"),
    ("GET", "/v2/schemas/{name}"),
    ("GET", "/v2/info/import"),
    ("GET", "/v2/info/stores"),
    ("GET", "/v1/cloudimages/os_version"),
    ("GET", "/v2/info/usage"),
    ("OPTIONS", "/v2/images/{image_id}/file"),
    ("OPTIONS", "/v2/images/{image_id}/stage"),
    ("OPTIONS", "/v2/images/{image_id}/upload"),
    # As PUT, for clients of resumable uploads; others get 405.
    ("POST", "/v2/images/{image_id}/file"),
    # The rules of the image decide, once the version of the protocol is certain: see test_tus.
    *((method, "/v2/uploads") for method in ("POST", "OPTIONS")),
    *(
        (method, "/v2/uploads/{upload_id}")
        for method in ("GET", "PATCH", "DELETE", "POST", "OPTIONS")
    ),
}


def calls(*pages: Callable[..., list[routes.Route]]) -> set[tuple[str, str]]:
    """Method and path template of every route."""
    found = set()
    for page in pages:
        handlers: Any = {name: mock.MagicMock() for name in inspect.signature(page).parameters}
        found |= {(method, one.template) for one in page(**handlers) for method in one.handlers}
    return found


def operations() -> list[tuple[str, str, str]]:
    """Rule, method and path template of everything that a rule says it covers."""
    return [
        (rule.name, operation["method"], operation["path"])
        for rule in policy.list_rules()
        for operation in getattr(rule, "operations", ())
    ]


def test_every_route_has_a_rule() -> None:
    covered = {(method, path) for _, method, path in operations()}
    assert calls(routes.routes, routes.ims_routes) == covered | OPEN
    assert not covered & OPEN


PUBLIC = {"visibility": "public"}
COMMUNITY = {"visibility": "community"}
BODIES: dict[tuple[str, str], Any] = {
    ("add_image", "POST"): {},
    ("publicize_image", "POST"): PUBLIC,
    ("communitize_image", "POST"): COMMUNITY,
    ("modify_image", "PATCH"): [{"op": "replace", "path": "/name", "value": "n"}],
    ("publicize_image", "PATCH"): [{"op": "replace", "path": "/visibility", "value": "public"}],
    ("communitize_image", "PATCH"): [
        {"op": "replace", "path": "/visibility", "value": "community"}
    ],
    ("upload_image", "PUT"): b"data",
    ("upload_image", "PATCH"): b"data",
    ("modify_image", "POST"): {"method": {"name": "glance-direct"}},
    ("copy_image", "POST"): {"method": {"name": "copy-image"}, "all_stores": True},
    ("add_member", "POST"): {"member": "third"},
    ("modify_member", "PUT"): {"status": "accepted"},
}


def body(rule: str, method: str, path: str, image_id: str) -> Any:
    """What a call needs for its rule to decide."""
    shared = {"images": [image_id], "projects": ["other"], "project_id": "admins"}
    by_path: dict[str, Any] = {
        "/v1/cloudimages/members": {**shared, "status": "accepted"},
        "/v1/cloudimages/tags": {"image_id": image_id, "tag": "a=b"},
        "/v2/{project_id}/images/{image_id}/tags": {"tag": {"key": "a", "value": "b"}},
        "/v2/{project_id}/images/{image_id}/tags/action": {"action": "create"},
        "/v1/cloudimages/{image_id}/upload": {"image_url": "bucket:object"},
        "/v1/cloudimages/{image_id}/file": {"bucket_url": "bucket:object"},
        "/v2.1/cloudimages/{image_id}/file": {"bucket_url": "bucket:object"},
    }
    if f"{method} {path}" in policy_rules.IMS_CREATE:
        return {}
    return None if method == "GET" else by_path.get(path, BODIES.get((rule, method)))


@pytest.mark.parametrize(("rule", "method", "path"), operations())
def test_every_rule_decides(stack: Stack, start: Any, rule: str, method: str, path: str) -> None:
    """What one rule denies even an administrator does not get; without it, the rest allows it."""
    denied = start(f'"{rule}": "!"')
    statuses = [_status(each, rule, method, path) for each in (stack, denied)]
    assert statuses[0] not in (401, 403)
    assert statuses[1] == (404 if rule in ("get_image", "get_member") else 403)


def _status(stack: Stack, rule: str, method: str, path: str) -> int:
    asker = SERVANT if rule == "add_image_location" else ADMIN
    named = "{image_id}" in path or path in ("/v1/cloudimages/members", "/v1/cloudimages/tags")
    image = _prepared(stack, rule) if named else ""
    url = path.replace("/v2/images/{image_id}", image)
    image_id = image.rpartition("/")[2]
    names = {"image_id": image_id, "store_id": "fast", "tag": "tag", "key": "tag"}
    ours = {"project_id": "admins", "task_id": "1", "job_id": "1"}
    url = url.format(member_id="other", **ours, **names)
    if rule == "download_from_store":
        url += "?prefer=fast"
    return int(stack.call(asker, method, url, body(rule, method, path, image_id)).status_int)


def _prepared(stack: Stack, rule: str) -> str:
    """The path of an image on which the call of a rule succeeds, made without that rule."""
    path = stack.create(tags=["tag"])
    if rule in ("get_member", "get_members", "modify_member", "delete_member"):
        stack.share(path)
    if rule in ("download_image", "download_from_store", "deactivate", "reactivate"):
        assert stack.call(MEMBER, "PUT", f"{path}/file", b"data").status_int == 204
    return path


# The defaults

NAME = [{"op": "replace", "path": "/name", "value": "n"}]
ACCEPT = {"status": "accepted"}
SYSTEM = who(None, "admin member reader", system_scope="all")
DOMAIN = who(None, "admin member reader", domain_id="d")
NOBODY = who(roles="")
STRANGER = who("third")
SERVANT = who("services", "admin service member reader")
SERVICE = who("services", "service")
FOR_MEMBER = who(service_roles=frozenset({"service"}))


IMAGE = "/v2/images/{image_id}"
COPY = {"method": {"name": "copy-image"}, "all_stores": True}
DIRECT = {"method": {"name": "glance-direct"}}
#: Of the shared image: member, reader, the project shared with, a third one, admin.
SHARED = [
    ("GET", IMAGE, None, (200, 200, 200, 404, 200)),
    ("PATCH", IMAGE, NAME, (200, 403, 403, 404, 200)),
    ("DELETE", IMAGE, None, (204, 403, 403, 404, 204)),
    ("GET", f"{IMAGE}/file", None, (200, 403, 200, 404, 200)),
    ("PUT", f"{IMAGE}/file", b"other", (409, 403, 403, 404, 409)),
    ("PUT", f"{IMAGE}/stage", b"data", (409, 403, 403, 404, 409)),
    ("GET", f"{IMAGE}/upload", None, (404, 404, 404, 404, 404)),
    ("PATCH", f"{IMAGE}/upload", b"data", (404, 403, 403, 404, 404)),
    ("DELETE", f"{IMAGE}/upload", None, (404, 403, 403, 404, 404)),
    ("POST", f"{IMAGE}/import", DIRECT, (409, 403, 403, 404, 409)),
    ("POST", f"{IMAGE}/import", COPY, (403, 403, 403, 404, 202)),
    ("GET", f"{IMAGE}/tasks", None, (200, 200, 200, 404, 200)),
    ("GET", f"{IMAGE}/locations", None, (403, 403, 403, 404, 200)),
    ("POST", f"{IMAGE}/locations", {"url": "x"}, (403, 403, 403, 404, 403)),
    ("DELETE", "/v2/stores/{store_id}/{image_id}", None, (403, 403, 403, 404, 403)),
    ("POST", f"{IMAGE}/actions/deactivate", None, (204, 403, 403, 404, 204)),
    ("POST", f"{IMAGE}/actions/reactivate", None, (204, 403, 403, 404, 204)),
    ("PUT", f"{IMAGE}/tags/{{tag}}", None, (204, 403, 403, 404, 204)),
    ("DELETE", f"{IMAGE}/tags/{{tag}}", None, (204, 403, 403, 404, 204)),
    ("GET", f"{IMAGE}/members", None, (200, 200, 200, 404, 200)),
    ("POST", f"{IMAGE}/members", {"member": "x"}, (200, 403, 403, 404, 200)),
    ("GET", f"{IMAGE}/members/{{member_id}}", None, (200, 200, 200, 404, 200)),
    ("PUT", f"{IMAGE}/members/{{member_id}}", ACCEPT, (403, 403, 200, 404, 200)),
    ("DELETE", f"{IMAGE}/members/{{member_id}}", None, (204, 403, 403, 404, 204)),
    ("GET", f"{IMAGE}/members/zz", None, (404, 404, 404, 404, 404)),
    ("PUT", f"{IMAGE}/members/zz", ACCEPT, (404, 404, 404, 404, 404)),
    ("DELETE", f"{IMAGE}/members/zz", None, (404, 404, 404, 404, 404)),
]


def test_the_table_has_every_call_of_an_image() -> None:
    told = {(method, template) for method, template, _, _ in SHARED}
    assert {call for call in calls() if "{image_id}" in call[1]} <= told


@pytest.mark.parametrize(("method", "template", "body", "statuses"), SHARED)
@pytest.mark.parametrize("answered", ["pending", "accepted", "rejected"])
def test_who_may_do_what_to_a_shared_image(
    stack: Stack, method: str, template: str, body: Any, statuses: tuple[int, ...], answered: str
) -> None:
    found = []
    for identity in (MEMBER, READER, OTHER, STRANGER, ADMIN):
        path = stack.create(tags=["tag"])
        stack.share(path, status=answered)
        stack.call(MEMBER, "PUT", f"{path}/file", b"data")
        found.append(stack.call(identity, method, url(template, path), body).status_int)
    assert tuple(found) == statuses


@pytest.mark.parametrize("visibility", ["private", "shared", "community", "public"])
@pytest.mark.parametrize(("method", "template", "body", "_"), SHARED)
def test_what_cannot_be_seen_is_404_and_what_can_is_403(
    stack: Stack, method: str, template: str, body: Any, _: Any, visibility: str
) -> None:
    """To another project, by every verb; what it may do, it does with what it sees."""
    path = stack.create(ADMIN, visibility=visibility, owner="p")
    answer = stack.call(OTHER, method, url(template, path), body)
    if visibility in ("private", "shared"):
        assert answer.status_int == 404
        assert path.rpartition("/")[2] in answer.text
    elif method == "GET" and template.removeprefix(IMAGE) in ("", "/file", "/tasks"):
        assert answer.status_int in (200, 204)
    elif (method, template) == ("GET", f"{IMAGE}/upload"):
        assert answer.status_int == 404  # there is none
    else:
        assert answer.status_int == (404 if (method, template) in UNSEEN_MEMBERS else 403)


#: Glance hides whether there is a member of an image that is not shared.
UNSEEN_MEMBERS = {
    ("GET", f"{IMAGE}/members/{{member_id}}"),
    ("GET", f"{IMAGE}/members/zz"),
}


def url(template: str, path: str) -> str:
    names = {"store_id": "fast", "tag": "tag", "member_id": "other"}
    return template.format(image_id=path.rpartition("/")[2], **names)


@pytest.mark.parametrize(
    ("visibility", "suffix", "status"),
    [
        ("private", "", 404),
        ("private", "/members", 404),
        ("community", "", 200),
        ("community", "/file", 204),
        ("community", "/members", 403),
        ("community", "/members/x", 404),
        ("public", "", 200),
        ("public", "/members", 403),
    ],
)
def test_what_others_see(stack: Stack, visibility: str, suffix: str, status: int) -> None:
    path = stack.create(ADMIN, visibility=visibility, owner="p")
    assert stack.call(OTHER, "GET", path + suffix).status_int == status
    if status != 404:
        assert stack.call(OTHER, "PATCH", path, NAME).status_int == 403
        assert stack.call(OTHER, "DELETE", path).status_int == 403
        assert stack.call(OTHER, "PUT", f"{path}/file", b"x").status_int == 403


@pytest.mark.parametrize("identity", [NOBODY, SYSTEM, DOMAIN, who(None)])
def test_a_token_without_role_or_project_gets_nothing(stack: Stack, identity: Any) -> None:
    assert stack.call(identity, "GET", "/v2/images").status_int == 403
    assert stack.call(identity, "POST", "/v2/images", {}).status_int == 403
    path = stack.create(ADMIN, owner=None)
    assert stack.call(identity, "GET", path).status_int == 404


def test_a_property_cannot_pretend_to_be_an_owner(stack: Stack) -> None:
    path = stack.create(ADMIN, owner=None, visibility="community", project_id="p", member_id="p")
    assert stack.call(MEMBER, "PATCH", path, NAME).status_int == 403


@pytest.mark.parametrize(
    ("fields", "identity", "status"),
    [
        ({}, READER, 403),
        ({"owner": "other"}, MEMBER, 403),
        ({"owner": None}, MEMBER, 403),
        ({"owner": "other"}, ADMIN, 201),
        ({"visibility": "public"}, MEMBER, 403),
        ({"visibility": "public"}, ADMIN, 201),
        ({"visibility": "community"}, MEMBER, 201),
    ],
)
def test_who_may_create_what(stack: Stack, fields: Any, identity: Any, status: int) -> None:
    assert stack.call(identity, "POST", "/v2/images", fields).status_int == status


@pytest.mark.parametrize(
    ("identity", "status"),
    [(MEMBER, 403), (SERVICE, 200), (FOR_MEMBER, 200), (ADMIN, 200)],
)
def test_other_services_see_how_stores_fare(stack: Stack, identity: Any, status: int) -> None:
    assert stack.call(identity, "GET", "/v2/info/stores/detail").status_int == status


# The operator's file


def test_an_override_counts_and_is_read_again(
    start: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_cache, "TTL_SECONDS", 0.0)
    stack = start('"add_image": "role:image_maker"')
    assert stack.call(MEMBER, "POST", "/v2/images", {}).status_int == 403
    assert stack.call(who(roles="image_maker"), "POST", "/v2/images", {}).status_int == 201
    (tmp_path / "rules.yaml").write_text('"add_image": "role:member or role:nobody"')
    assert stack.call(MEMBER, "POST", "/v2/images", {}).status_int == 201
    (tmp_path / "rules.yaml").write_text("- broken while it runs")
    assert stack.call(MEMBER, "POST", "/v2/images", {}).status_int == 201
    assert stack.call(who(roles="image_maker"), "POST", "/v2/images", {}).status_int == 403


GLANCES_GET_IMAGE = (
    "role:reader and (project_id:%(project_id)s or project_id:%(member_id)s or "
    "'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s)"
)


def test_glances_own_text_of_a_rule_opens_nothing(start: Any) -> None:
    """In Glance, too, the policy alone would show everybody every shared image."""
    stack = start(f'"get_image": "{GLANCES_GET_IMAGE}"')
    path = stack.create()
    assert stack.call(MEMBER, "GET", path).status_int == 200
    assert stack.call(OTHER, "GET", path).status_int == 404
    assert stack.call(OTHER, "GET", "/v2/images").json["images"] == []


def test_a_list_holds_only_what_the_policy_shows(start: Any) -> None:
    stack = start('"get_image": "\'yes\':%(listed)s"')
    stack.create(name="a", listed="no")
    stack.create(name="b", listed="yes")
    page = stack.call(MEMBER, "GET", "/v2/images?limit=2").json
    assert [image["name"] for image in page["images"]] == ["b"]
    assert "next" in page


@pytest.mark.parametrize(
    "text",
    ['"add_image": "rule:nowhere"', '"a": "rule:b"\n"b": "rule:a"', "- a list", "{"],
    ids=["undefined", "cyclic", "list", "not-yaml"],
)
def test_a_file_that_cannot_work_refuses_to_start(start: Any, text: str) -> None:
    with pytest.raises(BadConfig, match=r"\[oslo_policy\] policy_file"):
        start(text)


def test_a_file_that_is_missing_refuses_to_start(start: Any) -> None:
    with pytest.raises(BadConfig, match=r"nowhere\.yaml does not exist"):
        start(config="\n[oslo_policy]\npolicy_file = nowhere.yaml\n")


# The documents


def test_the_table_of_calls_is_fresh() -> None:
    assert table.DOC.read_text() == table.text(), "run: make sample"


def test_the_ims_table_is_fresh_and_has_every_route() -> None:
    assert ims_table.DOC.read_text() == ims_table.text(), "run: make sample"
    listed = {tuple(call.replace("{tag}", "{key}").split(" ", 1)) for call in ims_table.CALLS}
    assert calls(routes.ims_routes) <= listed


def test_the_table_has_every_route() -> None:
    """Every call of Glance, that is: it has neither resumable uploads nor metrics."""
    listed = {tuple(call.split(" ", 1)) for call in table.DATA}
    served = {(method, path) for method, path in calls(routes.routes) if "{name}" not in path}
    ours = {(method, path) for method, path in served if "/upload" in path or method == "OPTIONS"}
    ours |= {("GET", "/v2"), ("GET", "/metrics"), ("POST", "/v2/images/{image_id}/file")}
    assert served <= listed | ours


# The tools


def test_the_sample_is_fresh(tmp_path: pathlib.Path) -> None:
    fresh = tmp_path / "sample"
    tool = str(BIN / "oslopolicy-sample-generator")
    subprocess.run([tool, "--namespace", "imsgate", "--output-file", str(fresh)], check=True)
    stale = (ROOT / "etc" / "policy.yaml.sample").read_text()
    assert fresh.read_text() == stale, "run: make sample"


def test_the_tools_that_need_an_enforcer_work(tmp_path: pathlib.Path) -> None:
    (tmp_path / "policy.yaml").write_text('"add_image": "role:member"\n')
    conf = tmp_path / "imsgate.conf"
    conf.touch()
    args = ["--namespace", "imsgate", "--config-file", str(conf)]
    merged = subprocess.run(
        [str(BIN / "oslopolicy-policy-generator"), *args],
        check=True,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path)},
    )
    assert '"delete_image":' in merged.stdout


def test_the_checker_works_with_the_rules_in_force(tmp_path: pathlib.Path) -> None:
    """As doc/keystone.md has it: it does not know the defaults of a policy.yaml."""
    rules, token = tmp_path / "effective.yaml", tmp_path / "token.json"
    roles, project, user = [{"name": "member"}], {"id": "p"}, {"id": "u"}
    token.write_text(json.dumps({"token": {"roles": roles, "project": project, "user": user}}))
    env = {"HOME": str(tmp_path)}
    generator = [str(BIN / "oslopolicy-policy-generator"), "--namespace", "imsgate"]
    subprocess.run([*generator, "--output-file", str(rules)], check=True, env=env)
    checker = [str(BIN / "oslopolicy-checker"), "--policy", str(rules), "--access", str(token)]
    answer = subprocess.run(
        [*checker, "--rule", "upload_image"], check=True, capture_output=True, text=True, env=env
    )
    assert answer.stdout.strip() == "passed: upload_image"
