"""Properties that the operator adds to imported images."""

import pytest

from imsgate.errors import BadConfig
from imsgate.testing.gateways import gateway, memory_store
from tests.api.people import PEOPLE, Person

OCTETS = "application/octet-stream"


def site(plugins=("inject_image_metadata",), **options):
    inject = {"os_distro": "debian", "origin": "import", **options.pop("inject", {})}
    return gateway(
        stores=[memory_store("fast"), memory_store("archive")],
        further={
            "image_import_opts": {"image_import_plugins": list(plugins)},
            "inject_metadata_properties": {"inject": inject, **options},
        },
    )


def imported(gate, who, method="glance-direct", **fields):
    """The properties of an image after its import."""
    person = Person(gate.app, PEOPLE[who])
    path = person.create(disk_format="raw", container_format="bare", **fields)
    body = {"method": {"name": method}}
    if method == "copy-image":
        person.upload(path)
        body["stores"] = ["archive"]
    else:
        assert person.put(f"{path}/stage", b"x" * 512, Content_Type=OCTETS).status_int == 204
    assert person.post(f"{path}/import", body).status_int == 202
    assert gate.engine.run_one()
    shown = person.get(path).json
    assert shown["status"] == "active"
    return {name: shown[name] for name in ("os_distro", "origin") if name in shown}


INJECTED = {"os_distro": "debian", "origin": "import"}


@pytest.mark.parametrize(
    ("who", "options", "expected"),
    [
        ("owner", {}, INJECTED),
        ("admin", {}, {}),
        ("admin", {"ignore_user_roles": []}, INJECTED),
        ("owner", {"ignore_user_roles": ["admin", "member"]}, {}),
        ("owner", {"plugins": []}, {}),
        ("owner", {"plugins": ["no_op"]}, {}),
    ],
)
def test_whose_images_get_them(who, options, expected):
    assert imported(site(**options), who) == expected


def test_they_replace_what_the_user_has_set():
    assert imported(site(), "owner", os_distro="windows") == INJECTED


def test_a_copy_changes_nothing():
    assert imported(site(ignore_user_roles=[]), "admin", method="copy-image") == {}


@pytest.mark.parametrize(
    "name", ["os_glance_x", "status", "id", "name", "min_disk", "x" * 256, "deleted"]
)
def test_a_property_that_no_image_can_have_refuses_to_start(name):
    with pytest.raises(BadConfig) as caught:
        site(inject={name: "value"})
    assert caught.value.key == "[inject_metadata_properties] inject"
    assert name in caught.value.problem
