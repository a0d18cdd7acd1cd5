#!/usr/bin/env python3
"""Mirror a publisher's image: import it if it is new, verified, and keep the newest ones.

Needs openstacksdk, and the environment (OS_CLOUD, ...) of an OpenStack client. Run it by cron; it
prints what it did, and exits with 1 if the new image could not be imported.
"""

import argparse
import sys
import time
import urllib.parse
import urllib.request

import openstack
import openstack.exceptions
from openstack.connection import Connection
from openstack.image.v2.image import Image

#: The properties of the images that this program has made: their source, and the lines about the
#: file in the publisher's file of digests, which change when there is a new image.
SOURCE, LINES = "mirror_source", "mirror_lines"


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="name of the images")
    parser.add_argument("uris", nargs="+", help="URLs of the file: the publisher's, then mirrors")
    parser.add_argument("--checksum-url", required=True, help="the publisher's file of digests")
    parser.add_argument("--signature-url", help="detached OpenPGP signature of that file")
    parser.add_argument("--disk-format", default="qcow2")
    parser.add_argument("--visibility", default="private")
    parser.add_argument("--keep", type=int, default=3, help="number of images to keep")
    parser.add_argument("--poll", type=float, default=5, help="seconds between two looks")
    options = parser.parse_args(words)
    if options.keep < 1:
        parser.error("--keep must be at least 1")
    return options


def main(cloud: Connection, words: list[str]) -> int:
    options = parsed(words)
    lines = published_lines(options)
    made = images(cloud, options)
    if made and made[0].properties.get(LINES) == lines:
        print(f"{options.name} is up to date")
        return 0
    image, problem = imported(cloud, options, lines)
    if problem is not None:
        cloud.image.delete_image(image)
        print(f"{options.name} was not imported: {problem}", file=sys.stderr)
        return 1
    print(f"{options.name} is imported as {image.id}")
    for old in images(cloud, options)[options.keep :]:
        cloud.image.delete_image(old)
        print(f"{old.id} of {old.created_at} is deleted")
    return 0


def published_lines(options: argparse.Namespace) -> str:
    """What the publisher says about the file now. The service verifies it; here it only shows
    whether the file is new."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(options.uris[0]).path.rpartition("/")[2])
    with urllib.request.urlopen(options.checksum_url, timeout=60) as response:
        text = response.read(1 << 20).decode(errors="replace")
    about = [line for line in text.splitlines() if name in line]
    return "\n".join(about) or text.strip()[:1000]


def images(cloud: Connection, options: argparse.Namespace) -> list[Image]:
    """The images that this program has imported from there, the newest first."""
    found = cloud.image.images(name=options.name, status="active", sort="created_at:desc")
    return [image for image in found if image.properties.get(SOURCE) == options.uris[0]]


def imported(
    cloud: Connection, options: argparse.Namespace, lines: str
) -> tuple[Image, str | None]:
    """A new image, once its import has ended, and why that failed."""
    fields = {
        "name": options.name,
        "disk_format": options.disk_format,
        "container_format": "bare",
        "visibility": options.visibility,
        SOURCE: options.uris[0],
        LINES: lines,
    }
    # Not create_image, which fails if there are two images with this name.
    created = cloud.image.post("/images", json=fields)
    openstack.exceptions.raise_from_response(created)
    image = cloud.image.get_image(created.json()["id"])
    method = {
        "name": "web-download",
        "uris": options.uris,
        "checksum_url": options.checksum_url,
        "checksum_signature_url": options.signature_url,
    }
    answer = cloud.image.post(f"/images/{image.id}/import", json={"method": method})
    if not answer.ok:
        return image, answer.text
    while True:
        image = cloud.image.get_image(image.id)
        if image.status == "active":
            return image, None
        if image.status == "queued":
            why = image.properties.get("os_glance_failed_import_message")
            return image, why or "see its tasks"
        time.sleep(options.poll)


if __name__ == "__main__":
    sys.exit(main(openstack.connect(), sys.argv[1:]))
