"""Files of digests in the formats of five distributions, each with a right, a wrong and a missing
line."""

import pytest

from imsgate import errors
from imsgate.sources.checksums import Digest, digest_of
from tests.sources.checksum_files import DISTRIBUTIONS, HEX

RIGHT = [(name, each.text(HEX[each.algorithm])) for name, each in DISTRIBUTIONS.items()]


@pytest.mark.parametrize(("name", "text"), RIGHT, ids=DISTRIBUTIONS)
def test_the_line_of_the_file_decides(name, text):
    one = DISTRIBUTIONS[name]
    found = digest_of(one.image, text, one.list_name)
    assert found == Digest(one.algorithm, HEX[one.algorithm])


@pytest.mark.parametrize(("name", "text"), RIGHT, ids=DISTRIBUTIONS)
@pytest.mark.parametrize("change", [lambda digest: digest[:-2], lambda digest: f"g{digest[1:]}"])
def test_a_line_without_a_digest_is_none(name, text, change):
    one = DISTRIBUTIONS[name]
    digest = HEX[one.algorithm]
    with pytest.raises(errors.ChecksumUnknown, match=f"no digest of '{one.image}'"):
        digest_of(one.image, text.replace(digest, change(digest)), one.list_name)


@pytest.mark.parametrize(("name", "text"), RIGHT, ids=DISTRIBUTIONS)
@pytest.mark.parametrize("missing", ["x{}", "{}x", "other/{}"])
def test_a_missing_line(name, text, missing):
    """A name that only ends, begins or lies like this one is another file's."""
    one = DISTRIBUTIONS[name]
    renamed = text.replace(one.image, missing.format(one.image))
    other = "list" if text == renamed else one.list_name  # a digest alone has no name
    with pytest.raises(errors.ChecksumUnknown, match=f"'{other}' has no digest of '{one.image}'"):
        digest_of(one.image, renamed, other)


A, B = HEX["sha256"], HEX["sha256"][::-1]
LONG = HEX["sha512"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A}  image", A),
        (f"{A} *image\r\n", A),
        (f"{A}\timage", A),
        (f"{A.upper()}  image", A),
        (f"\ufeff{A}  ./image", A),
        (f"{A}  an image\n{B}  image", B),
        (f"SHA256(image)= {A}", A),
        (f"SHA2-256(image)= {A}", A),
        (f"SHA-256 (image) = {A}", A),
        (f"MD5 (image) = {HEX['md5']}\nSHA512 (image) = {LONG}\nSHA256 (image) = {A}", LONG),
        (f"{HEX['md5']}  image\n{A}  image", A),
        (f"{A}  image\n{A}  image", A),
        (f"# {B}  image\n{A}  image", A),
        (A, A),
        (f"\n{A}\n", A),
    ],
)
def test_lines(text, expected):
    assert digest_of("image", text, "image.sha256").value == expected


@pytest.mark.parametrize(
    ("text", "list_name", "problem"),
    [
        ("", "SHA256SUMS", "no digest"),
        (f"{A}  image\n{B}  image", "SHA256SUMS", "different digests"),
        (A, "SHA256SUMS", "no digest"),
        (A, "other.sha256", "no digest"),
        (f"{A}\n{B}", "image.sha256", "no digest"),
        (f"SHA512 (image) = {A}", "CHECKSUM", "no digest"),
        (f"SHA512/256 (image) = {A}", "CHECKSUM", "no digest"),
        (f"BLAKE2B (image) = {LONG}", "CHECKSUM", "no digest"),
        (f"{A[:-1]}  image", "SHA256SUMS", "no digest"),
        (f"\\{A}  image", "SHA256SUMS", "no digest"),
        (f"{A}image", "SHA256SUMS", "no digest"),
        (f"image  {A}", "SHA256SUMS", "no digest"),
        ("<html>" * 1000, "SHA256SUMS", "no digest"),
    ],
)
def test_no_digest(text, list_name, problem):
    with pytest.raises(errors.ChecksumUnknown, match=problem):
        digest_of("image", text, list_name)
