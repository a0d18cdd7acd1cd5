"""The otcextensions library, unchanged: ``python -m tests.functional.otc_client URL TOKEN BUCKET``.

Makes an image of the object ``otc.raw``, lists and exports it; prints what came back. Its update
call fails on attributes that openstacksdk no longer has, after the answer.
"""

import json
import sys

from keystoneauth1 import session
from keystoneauth1.token_endpoint import Token
from openstack.connection import Connection
from otcextensions.sdk.imsv1.v1 import _proxy as v1
from otcextensions.sdk.imsv2.v2 import _proxy as v2


class Demo(Token):
    """A token of the project ``demo``."""

    def get_project_id(self, session, **_):
        return "demo"


def main(url, token, bucket):
    made = session.Session(auth=Demo(url, token))
    connection = Connection(session=made)
    proxies = [
        kind.Proxy(made, service_type="image", endpoint_override=f"{url}/{version}")
        for kind, version in ((v1, "v1"), (v2, "v2"))
    ]
    for proxy in proxies:
        proxy.additional_headers = {"Content-Type": "application/json"}
        proxy._connection = connection  # as openstacksdk does it
    jobs, images = proxies
    job = images.create_image(name="otc", image_url=f"{bucket}:otc.raw", min_disk=40)
    done = jobs.wait_for_async_job(job.job_id, wait=0.2)
    image_id = done.entities.image_id
    (listed,) = images.images(id=image_id)
    job = jobs.export_image(image_id=image_id, bucket_url=f"{bucket}:otc.out", file_format="raw")
    exported = jobs.wait_for_async_job(job.job_id, wait=0.2)
    told = [done.status, listed.status, listed.image_size, exported.status, image_id]
    print(json.dumps(told))
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
