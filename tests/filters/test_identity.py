"""identity: unauthenticated requests are refused, all others get an Identity."""

import dataclasses

import pytest

from imsgate.filters import identity
from imsgate.http.request import IDENTITY
from imsgate.model import Identity
from imsgate.testing import FilterContract, apps, servers
from tests.filters.alone import IMAGE, put, refused

AUTHENTICATED = {
    "HTTP_X_IDENTITY_STATUS": "Confirmed",
    "HTTP_X_USER_ID": "u1",
    "HTTP_X_PROJECT_ID": "p1",
    "HTTP_X_ROLES": "member,reader",
}


class TestIdentity(FilterContract):
    @pytest.fixture
    def factory(self):
        return identity.filter_factory

    def passing(self):
        return {**super().passing(), **AUTHENTICATED}

    def refused(self):
        return {"HTTP_X_IDENTITY_STATUS": "Invalid"}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param({}, Identity(user_id="u1", project_id="p1", roles={"member", "reader"})),
        pytest.param({"HTTP_X_ROLES": " Admin , ,MEMBER"}, Identity(
            user_id="u1", project_id="p1", roles={"admin", "member"}), id="roles-as-keystone"),
        pytest.param({"HTTP_X_ROLES": ""}, Identity(user_id="u1", project_id="p1"), id="no-roles"),
        pytest.param({"HTTP_X_ROLES": None}, Identity(user_id="u1", project_id="p1"), id="none"),
        pytest.param({"HTTP_X_PROJECT_ID": None, "HTTP_X_ROLES": "admin"},
            Identity(user_id="u1", roles={"admin"}), id="system-scope"),
    ],
)  # fmt: skip
def test_one_identity_is_made(alone, entries, expected):
    app = apps.App()
    assert put(alone("identity", app), **{**AUTHENTICATED, **entries}).code == 200
    found = app.environs[0][IDENTITY]
    assert found == dataclasses.replace(expected, roles=frozenset(expected.roles))
    assert isinstance(found.roles, frozenset)


def test_all_that_keystone_says_is_kept(alone):
    app = apps.App()
    said = {
        "HTTP_X_DOMAIN_ID": "d",
        "HTTP_X_USER_DOMAIN_ID": "ud",
        "HTTP_X_PROJECT_DOMAIN_ID": "pd",
        "HTTP_OPENSTACK_SYSTEM_SCOPE": "all",
        "HTTP_X_IS_ADMIN_PROJECT": "False",
        "HTTP_X_SERVICE_ROLES": "Service",
    }
    put(alone("identity", app), **{**AUTHENTICATED, **said})
    assert app.environs[0][IDENTITY] == Identity(
        user_id="u1",
        project_id="p1",
        roles=frozenset({"member", "reader"}),
        domain_id="d",
        user_domain_id="ud",
        project_domain_id="pd",
        system_scope="all",
        is_admin_project=False,
        service_roles=frozenset({"service"}),
    )


def test_an_identity_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Identity(user_id="u").user_id = "v"


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({}, id="nobody-asked"),
        pytest.param({**AUTHENTICATED, "HTTP_X_IDENTITY_STATUS": "Invalid"}, id="invalid"),
        pytest.param({**AUTHENTICATED, "HTTP_X_IDENTITY_STATUS": "confirmed"}, id="other-word"),
        pytest.param({**AUTHENTICATED, "HTTP_X_IDENTITY_STATUS": None}, id="only-names"),
        pytest.param({"REMOTE_USER": "u1"}, id="remote-user"),
        pytest.param({"PATH_INFO": "/versions/"}, id="nearly-public"),
        pytest.param({"PATH_INFO": "//v2/images"}, id="slashes"),
        pytest.param({"PATH_INFO": "/v2.5"}, id="minor-version"),
        pytest.param({"PATH_INFO": "/v2/images/\xff"}, id="not-utf-8"),
    ],
)
def test_a_stranger_is_refused(alone, entries):
    app, stream = apps.App(), servers.Input(bytes(10))
    answer = put(alone("identity", app), stream, length=10, **entries)
    refused(answer, app, 401, "unauthenticated")
    assert answer.header("WWW-Authenticate") == 'Token realm="imsgate"'
    assert stream.asked == 0


def test_a_401_says_how_to_authenticate(alone):
    told = 'Keystone uri="https://keystone.example/v3"'
    answer = put(alone("identity", apps.App(), www_authenticate=told))
    assert answer.header("WWW-Authenticate") == told


@pytest.mark.parametrize("path", ["", "/", "/versions", "//", "//versions", "/openapi.json"])
def test_public_paths_are_open(alone, path):
    app = apps.App()
    answer = put(
        alone("identity", app), REQUEST_METHOD="GET", SCRIPT_NAME="", PATH_INFO=path or "/"
    )
    assert answer.code == 200
    assert IDENTITY not in app.environs[0]


def test_public_paths_can_be_chosen(alone):
    app = apps.App()
    filtered = alone("identity", app, public_paths=f"{IMAGE}, /caf\u00e9")
    assert put(filtered, PATH_INFO=IMAGE).code == 200
    assert put(filtered, PATH_INFO="/caf\xc3\xa9").code == 200
    assert put(filtered, PATH_INFO="/").code == 401
