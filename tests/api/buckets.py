"""Users' buckets in memory."""

from imsgate.errors import SourceMissing
from imsgate.stores.buckets import Buckets, Found
from imsgate.testing.gateways import memory_store


class MemoryBuckets(Buckets):
    """``objects`` are bytes by bucket and key, ``classes`` the storage classes of some."""

    def __init__(self):
        self.objects = {}
        self.classes = {}
        self.written = memory_store("written")

    def find(self, bucket, key):
        body = self.objects.get((bucket, key))
        storage_class = self.classes.get((bucket, key), "STANDARD")
        return None if body is None else Found(len(body), storage_class)

    def read(self, bucket, key, length=None):
        if (bucket, key) not in self.objects:
            raise SourceMissing(bucket=bucket, object=key)
        yield self.objects[bucket, key][:length]

    def create(self, bucket, key, size):
        return self.written.create("0", size)


def options(profile, *allowed, **further):
    """What a gateway is given ``further``; ``allowed`` are projects with their buckets."""
    return {"ims": {"profile": profile}, "ims_buckets": {"allowed": list(allowed)}, **further}
