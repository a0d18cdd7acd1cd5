"""Endpoints in a service catalog."""

import json

import pytest

from imsgate.auth.catalog import image_endpoint

CATALOG = json.dumps(
    [
        {"type": "identity", "endpoints": [{"region": "RegionOne", "publicURL": "http://keys"}]},
        {"type": "image"},
        {
            "type": "image",
            "endpoints": [
                {"region": "RegionOne", "publicURL": "http://one", "internalURL": "http://inner"},
                {"region": "RegionTwo", "publicURL": "http://two"},
                {"publicURL": "http://nowhere"},
            ],
        },
    ]
)


@pytest.mark.parametrize(
    ("catalog", "region", "interface", "url"),
    [
        (CATALOG, "RegionOne", "public", "http://one"),
        (CATALOG, "REGIONTWO", "public", "http://two"),
        (CATALOG, "RegionOne", "internal", "http://inner"),
        (CATALOG, "RegionTwo", "internal", None),
        (CATALOG, "RegionOne", "not an interface", None),
        (CATALOG, "RegionThree", "public", None),
        ("[]", "RegionOne", "public", None),
        (None, "RegionOne", "public", None),
    ],
)
def test_image_endpoint(catalog, region, interface, url):
    assert image_endpoint(catalog, region, interface) == url
