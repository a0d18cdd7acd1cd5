"""What an image takes over from the record of an image in another region."""

import pytest

from imsgate import errors
from imsgate.auth.policy import Policy
from imsgate.config import Config
from imsgate.records import protections, remote_fields
from imsgate.records.settings import ApiSettings
from imsgate.testing.records import image, job
from tests.api.people import PEOPLE

RECORD = {"disk_format": "qcow2", "container_format": "bare"}
PROTECTED = """
[^hw_license]
create = admin
read = @
update = admin
delete = admin
[^os_type]
create = @
read = @
update = !
delete = @
[.*]
create = @
read = @
update = @
delete = @
"""


@pytest.fixture
def adopt(tmp_path):
    """Adopt a record into an image, for the owner of the image."""

    def adopted(record, own=None, config="", who="owner", protected=None, **limits):
        if protected is not None:
            (tmp_path / "protections").write_text(protected)
            config = f"[DEFAULT]\nproperty_protection_file = {tmp_path}/protections\n{config}"
        (tmp_path / "imsgate.conf").write_text(config)
        conf = Config([str(tmp_path / "imsgate.conf")], str(tmp_path))
        rules = protections.load(conf, Policy(conf.native))
        made = remote_fields.load(conf, ApiSettings(**limits), rules, lambda job: PEOPLE[who])
        return made(job(), image(properties=own or {}), {**RECORD, **record})

    return adopted


@pytest.mark.parametrize(
    ("name", "value", "is_copied"),
    [
        ("hw_disk_bus", "scsi", True),
        ("trait:STORAGE_DISK_SSD", "required", True),
        ("os_distro", "debian", True),
        ("speed", "88mph", False),
        ("os_version", "13", False),
        ("os_hidden", True, False),
        ("hw_number", 5, False),
        ("hw_" + "x" * 252, "longest", True),
        ("hw_" + "x" * 253, "too long", False),
        ("hw_x", "x" * 65535, True),
        ("hw_x", "x" * 65536, False),
        ("hw_space ", "x", False),
    ],
)
def test_which_properties_are_copied(adopt, name, value, is_copied):
    fields = adopt({name: value})
    assert fields == {**RECORD, "properties": {name: value} if is_copied else {}}


def test_the_operator_says_which(adopt):
    config = "[glance_download_properties]\nextra_properties = [os_, 'size', speed]\n"
    record = {"os_hidden": False, "os_glance_failed_import": "x", "os_hash_algo": "md5", "size": 1}
    record |= {"os_version": "13", "speed": "88mph", "hw_disk_bus": "scsi"}
    copied = adopt(record, config=config)["properties"]
    assert copied == {"os_version": "13", "speed": "88mph"}
    config = "[glance_download_properties]\nextra_properties = []\n"
    assert adopt(record, config=config)["properties"] == {}


@pytest.mark.parametrize("name", ["disk_format", "container_format"])
@pytest.mark.parametrize("value", [None, "floppy", 5])
def test_formats_that_are_not_accepted_here(adopt, name, value):
    with pytest.raises(errors.SourceFailed, match=f"its {name} .* is not accepted here"):
        adopt({name: value})


def test_limits(adopt):
    record = {f"hw_{number}": "x" for number in range(3)}
    assert len(adopt(record, {"hw_0": "y", "own": "z"}, image_property_quota=4)["properties"]) == 3
    with pytest.raises(errors.QuotaExceeded):
        adopt(record, {"own": "z", "other": "z"}, image_property_quota=4)
    with pytest.raises(errors.QuotaExceeded):
        adopt({f"hw_{number}": "x" * 65535 for number in range(2)})


@pytest.mark.parametrize(
    ("who", "record", "own", "refused"),
    [
        ("owner", {"hw_license": "x"}, {}, True),
        ("admin", {"hw_license": "x"}, {}, False),
        ("owner", {"os_type": "linux"}, {}, False),
        ("owner", {"os_type": "linux"}, {"os_type": "windows"}, True),
        ("owner", {"hw_disk_bus": "scsi"}, {"hw_disk_bus": "ide"}, False),
    ],
)
def test_property_protections(adopt, who, record, own, refused):
    """A user cannot get a property by way of another region."""
    if refused:
        with pytest.raises(errors.Reserved):
            adopt(record, own, who=who, protected=PROTECTED)
    else:
        assert adopt(record, own, who=who, protected=PROTECTED)["properties"] == record
