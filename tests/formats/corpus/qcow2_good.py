"""qcow2 images that are accepted."""

from tests.formats.corpus.entry import DISK, TIB, Entry, good
from tests.formats.craft import be
from tests.formats.workshop import Recipe, changed, converted, created, retried, then, written


def _written(options: str, *commands: str) -> Recipe:
    """An image with only what ``commands`` of qemu-io have written."""
    steps = [word for command in commands for word in ("-c", command)]
    return then(created("qcow2", "10M", options), ("qemu-io", "-f", "qcow2", *steps, "{}"))


def _sparse() -> list[Entry]:
    """Images that end within a cluster, because QEMU never wrote the rest of it."""
    extended, large = "extended_l2=on", "extended_l2=on,cluster_size=2M"
    recipes = {
        "first": _written(extended, "write 0 2k"),
        "middle": _written(extended, "write 1m 2k", "write 1030k 6k"),
        "large": _written(large, "write 3m 64k"),
        "zeros": _written(extended, "write 0 64k", "write 64k 2k", "write -z 64k 64k"),
        "odd": _written(extended, "write 10238k 2k", "write 5m 2k"),
        "discarded": _written(extended, "write 0 2k", "discard 0 2k"),
    }
    return [
        *(good(f"subclusters-{name}", make, "qcow2", DISK) for name, make in recipes.items()),
        # An L2 entry whose cluster is beyond the end, but reads as zeros.
        good(
            "zeros-beyond",
            changed(converted("qcow2"), (0x40000 + 8 * 100, be(1 << 40 | 1, 8))),
            "qcow2",
            DISK,
        ),
    ]


def qcow2_good() -> list[Entry]:
    data = converted("qcow2")
    secret = ("--object", "secret,id=k,data=abc")
    luks = ("-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=500")
    encrypted = ("qemu-img", "create", "-q", *secret, "-f", "qcow2", *luks, "{}", "10M")
    return [
        *_sparse(),
        good("v2", created("qcow2", "10M", "compat=0.10"), "qcow2", DISK),
        good("v3", created("qcow2"), "qcow2", DISK),
        good("data", data, "qcow2", DISK),
        good("data-v2", converted("qcow2", compat="0.10"), "qcow2", DISK),
        good("zlib", converted("qcow2", "-c"), "qcow2", DISK),
        good("zstd", converted("qcow2", "-c", compression_type="zstd"), "qcow2", DISK),
        good("lazy", converted("qcow2", lazy_refcounts="on"), "qcow2", DISK),
        good("extended-l2", converted("qcow2", extended_l2="on"), "qcow2", DISK),
        good("cluster-512", converted("qcow2", cluster_size="512"), "qcow2", DISK),
        good("cluster-4k", converted("qcow2", cluster_size="4096"), "qcow2", DISK),
        good("cluster-2m", converted("qcow2", cluster_size="2M"), "qcow2", DISK),
        good("metadata", created("qcow2", "10M", "preallocation=metadata"), "qcow2", DISK),
        good("falloc", created("qcow2", "10M", "preallocation=falloc"), "qcow2", DISK),
        good("full", created("qcow2", "10M", "preallocation=full"), "qcow2", DISK),
        good("refcount-1", converted("qcow2", refcount_bits="1"), "qcow2", DISK),
        good("refcount-64", converted("qcow2", refcount_bits="64"), "qcow2", DISK),
        good("odd-size", converted("qcow2", size=DISK + 512), "qcow2", DISK + 512),
        good("one-sector", created("qcow2", "512"), "qcow2", 512),
        good("one-tib", created("qcow2", "1T"), "qcow2", TIB),
        good("grown", then(data, ("qemu-img", "resize", "-q", "{}", "2T")), "qcow2", 2 * TIB),
        good(
            "snapshot",
            then(data, ("qemu-img", "snapshot", "-c", "one", "{}")),
            "qcow2",
            DISK,
            "internal_snapshots",
        ),
        good("bitmap", then(data, ("qemu-img", "bitmap", "--add", "{}", "b")), "qcow2", DISK),
        good("dirty", changed(data, (72, be(1, 8))), "qcow2", DISK, "dirty"),
        good("luks-inside", retried(then(written(b""), encrypted)), "qcow2", DISK, "encrypted"),
    ]
