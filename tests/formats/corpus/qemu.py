"""QCOW version 1 and QED."""

from tests.formats import craft
from tests.formats.corpus.entry import DISK, Entry, bad, good
from tests.formats.craft import be, le
from tests.formats.workshop import changed, converted, created, cut, overlay, written


def old_qemu() -> list[Entry]:
    qcow, qed = converted("qcow"), converted("qed")
    hand = craft.qed()
    return [
        good("v1", created("qcow"), "qcow", DISK),
        good("v1-data", qcow, "qcow", DISK),
        good("v1-odd-size", converted("qcow", size=DISK + 512), "qcow", DISK + 512),
        bad("v1-backing", overlay("qcow"), "qcow", DISK, "backing_file"),
        bad("v1-cluster-bits", changed(qcow, (32, b"\x40")), "qcow", DISK, "bad_header"),
        bad("v1-aes", changed(qcow, (36, be(1, 4))), "qcow", DISK, "legacy_encryption"),
        bad("v1-cut", cut(qcow, by=512), "qcow", DISK, "truncated"),
        good("empty", created("qed"), "qed", DISK),
        good("data", qed, "qed", DISK),
        good("needs-check", changed(qed, (16, le(2, 8))), "qed", DISK, "dirty"),
        good("by-hand", written(hand), "qed", DISK),
        bad("backing", overlay("qed"), "qed", DISK, "backing_file"),
        bad("features", changed(qed, (16, le(8, 8))), "qed", DISK, "unknown_features"),
        bad("cluster", changed(qed, (4, le(3, 4))), "qed", DISK, "bad_header"),
        bad("table-of-one", written(craft.qed(table=1)), "qed", DISK, "bad_header"),
        bad("l1-in-header", changed(qed, (12, le(2, 4))), "qed", DISK, "bad_header"),
        bad("v1-empty", changed(qcow, (24, be(1, 8))), "qcow", 1, "bad_header"),
        bad("tables", written(craft.qed(table=64)), "qed", DISK, "bad_header"),
        bad("cut", cut(qed, by=512), "qed", DISK, "truncated"),
    ]
