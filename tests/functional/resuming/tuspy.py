"""Uploads a file with tuspy, which goes on by itself after each cut.

usage: tuspy.py URL IMAGE-ID FILE TOKEN ATTEMPTS
"""

import sys

from tusclient.client import TusClient


def main() -> None:
    url, image_id, file, token, attempts = sys.argv[1:]
    client = TusClient(f"{url}/v2/uploads", headers={"X-Auth-Token": token})
    metadata = {"image_id": image_id}
    uploader = client.uploader(file, metadata=metadata, retries=int(attempts), retry_delay=0)
    uploader.upload()


main()
