"""Users' buckets in memory."""

from imsgate.buckets.base import Buckets, ObjectInfo, ObjectWriter
from imsgate.errors import SourceMissing, TargetExists


class MemoryBuckets(Buckets):
    """``objects`` are bytes by bucket and key, ``classes`` the storage classes of some.

    ``begun`` are the names of what was begun and has not ended, and ``first_write`` is called
    once, before the first chunk that anyone writes.
    """

    def __init__(self):
        self.objects = {}
        self.classes = {}
        self.begun = []
        self.first_write = None

    def find(self, bucket, key):
        body = self.objects.get((bucket, key))
        storage_class = self.classes.get((bucket, key), "STANDARD")
        return None if body is None else ObjectInfo(len(body), storage_class)

    def read(self, bucket, key, length=None):
        if (bucket, key) not in self.objects:
            raise SourceMissing(bucket=bucket, object=key)
        yield self.objects[bucket, key][:length]

    def create(self, bucket, key, size):
        return MemoryTarget(self, bucket, key)

    def discard(self, bucket, key, begun):
        if begun in self.begun:
            self.begun.remove(begun)


class MemoryTarget(ObjectWriter):
    def __init__(self, buckets, bucket, key):
        self._buckets = buckets
        self._place = bucket, key
        self._written = b""
        self.begun = f"upload of {id(self)}"
        buckets.begun.append(self.begun)

    def write(self, chunk):
        hook, self._buckets.first_write = self._buckets.first_write, None
        if hook:
            hook()
        self._written += chunk

    def commit(self):
        bucket, key = self._place
        if self._place in self._buckets.objects:
            raise TargetExists(bucket=bucket, object=key)
        self._buckets.objects[self._place] = self._written
        self.abort()
        return key

    def abort(self):
        self._buckets.discard(*self._place, self.begun)


def options(profile, *allowed, **further):
    """What a gateway is given ``further``; ``allowed`` are projects with their buckets."""
    return {"ims": {"profile": profile}, "ims_buckets": {"allowed": list(allowed)}, **further}
