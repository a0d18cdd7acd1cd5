"""The options of ``[upload]``."""

from oslo_config import cfg

from imsgate import hashing
from imsgate.errors import BadConfig
from imsgate.settings import Settings

GROUP = "upload"
OPTS = (
    cfg.StrOpt(
        "hashing_algorithm",
        default="sha512",
        choices=list(hashing.OS_HASH),
        help="The algorithm of os_hash_value. sha256 is about twice as fast as sha512 "
        "on processors with SHA instructions.",
    ),
    cfg.StrOpt(
        "checksum",
        default=hashing.CHECKSUM,
        choices=[hashing.CHECKSUM, "none"],
        help="The algorithm of the checksum of new image data. With none, records of new data have "
        "no checksum (null), downloads have no Content-MD5, and an upload takes less processor "
        "time: clients verify os_hash_value. A host in FIPS mode may have no md5 and need none.",
    ),
    cfg.IntOpt(
        "lease",
        default=60,
        min=1,
        max=10**9,  # added to the current time it must still be a valid date
        help="Seconds after which an upload whose process died counts as abandoned. "
        "A running upload renews its lease at least three times in this period.",
    ),
    cfg.StrOpt(
        "staging_store",
        help="Id of the store that holds staged data until it is imported; empty means the "
        "default store. An import to the same store does not copy the data.",
    ),
    cfg.IntOpt(
        "repeat_window",
        default=3600,
        min=0,
        max=10**9,
        help="Seconds after an upload during which the same user may send the same data again, "
        "as clients do that did not receive the response. The data is compared with what is "
        "stored, and the response is 204 again. Programs stop retrying within the default hour; "
        "a second upload after that is more likely a mistake. If 0, the response is always 409, "
        "as in Glance.",
    ),
    cfg.StrOpt(
        "spool_store",
        help="Id of the store that keeps a resumable upload until it is complete, if the store "
        "for the image cannot keep an incomplete one. If empty, the default store or, if that "
        "cannot either, the first store that can.",
    ),
    cfg.IntOpt(
        "keep_partial",
        mutable=True,
        default=24 * 3600,
        min=60,
        max=10**9,
        help="Seconds for which a resumable upload is kept after its last request. Then its data "
        "is removed, and the image is queued again.",
    ),
    cfg.BoolOpt(
        "interim_responses",
        default=False,
        help="Send the interim response 104 with the address of a resumable upload before its "
        "data is read. Only `imsgate serve` can send it. nginx mistakes it for the final "
        "response, so leave this off behind nginx.",
    ),
)


class UploadSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[upload]``."""

    hashing_algorithm: str
    checksum: str
    lease: int
    staging_store: str | None
    repeat_window: int
    spool_store: str | None
    keep_partial: int
    interim_responses: bool

    @property
    def algorithms(self) -> hashing.RecordAlgorithms:
        """The digests that records of new data have. Raises BadConfig if this host lacks one."""
        checksum = None if self.checksum == "none" else self.checksum
        if checksum is not None and not hashing.is_available(checksum):
            problem = f"this host has no {checksum}, maybe because of FIPS mode; set it to none"
            raise BadConfig(f"[{GROUP}] checksum", problem)
        return hashing.RecordAlgorithms(self.hashing_algorithm, checksum)
