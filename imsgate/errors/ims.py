"""Requests of Huawei's image service (IMS), and the buckets that it imports from and exports to."""

from typing import Any

from imsgate.errors.base import BadRequest


class Coded(BadRequest):
    """A refusal for which IMS has several codes: the given one says what is wrong."""

    def __init__(self, code: str, **details: Any) -> None:
        super().__init__(**details)
        self.code = code


class BadImageUrl(Coded):
    reason = "bad_image_url"
    message = "The URL must have the form bucket:object: {problem}"


class BadAttribute(Coded):
    reason = "bad_attribute"


class NotOffered(BadRequest):
    reason = "not_offered"
    code = "IMG.0105"
    message = "This is not supported here: {problem}"


class BucketNotAccessible(BadRequest):
    """The same message for another project's bucket, a missing one, and a denied one."""

    reason = "bucket_not_accessible"
    code = "IMG.0069"
    message = "Bucket {bucket!r} does not exist, or this project may not use it"


class SourceMissing(BadRequest):
    reason = "source_missing"
    code = "IMG.0057"
    message = "Bucket {bucket!r} has no object {object!r}, or the object is empty"


class WrongStorageClass(BadRequest):
    reason = "wrong_storage_class"
    code = "IMG.0057"
    message = "The storage class of object {object!r} is {found}, but must be STANDARD"


class TargetExists(BadRequest):
    reason = "target_exists"
    code = "IMG.0070"
    message = "Bucket {bucket!r} already has an object {object!r}"


class ExportFormat(BadRequest):
    reason = "export_format"
    code = "IMG.0072"
    message = "The image can only be exported as {found}: formats are not converted"


class QuickImportFormat(BadRequest):
    reason = "quick_import_format"
    code = "IMG.0158"
    message = "A quick import accepts raw and zvhd2, but the data is {found}"
