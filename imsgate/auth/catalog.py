"""Keystone's service catalog, in the form in which keystonemiddleware passes it on."""

import json
from typing import Any


def image_endpoint(catalog: str | None, region: str, interface: str) -> str | None:
    """The URL of the image service of a region, or None if the catalog has none.

    ``catalog`` is the header X-Service-Catalog: a JSON list of services in the form of the
    Identity API v2. As in Glance, ``region`` is found in either case and its first endpoint
    counts; ``interface`` is public, internal or admin.
    """
    services: list[dict[str, Any]] = json.loads(catalog or "[]")
    for service in services:
        if service.get("type") != "image":
            continue
        for endpoint in service.get("endpoints", ()):
            if str(endpoint.get("region")).lower() == region.lower():
                url: str | None = endpoint.get(f"{interface}URL")
                return url
    return None
