"""What policy rules may refer to."""

from imsgate.model import Image
from imsgate.records.access import PolicyTarget


def test_custom_property_does_not_hide_a_field():
    theirs = {"project_id": "p2", "member_id": "p2", "visibility": "public", "own": "x"}
    image = Image(id="i", owner="p1", properties=theirs, created_at=0, updated_at=0)
    target = PolicyTarget(image)
    named = {"image_id": "i", "id": "i", "owner": "p1", "project_id": "p1", "own": "x"}
    named |= {"status": "queued", "visibility": "shared", "protected": False, "os_hidden": False}
    assert dict(target) == named
    assert len(target) == len(named)
    assert target.get("member_id", "nobody") == "nobody"
