"""Files of digests as five distributions publish them beside their cloud images."""

import dataclasses
import hashlib

from tests.sources.web_server import DATA

#: The digests of the served data.
HEX = {name: hashlib.new(name, DATA).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")}


def _other(algorithm: str, number: int) -> str:
    return hashlib.new(algorithm, bytes([number])).hexdigest()


@dataclasses.dataclass(frozen=True)
class Distribution:
    """How a distribution names an image and the file of its digests; ``lines`` is its text."""

    image: str
    list_name: str
    algorithm: str
    lines: str

    def text(self, digest: str) -> str:
        return self.lines.format(
            image=self.image,
            digest=digest,
            a=_other(self.algorithm, 1),
            b=_other(self.algorithm, 2),
        )

    def without(self) -> str:
        """The text without the line of the image, which is the line of its digest."""
        lines = [line for line in self.lines.splitlines() if "{digest}" not in line]
        return dataclasses.replace(self, lines="\n".join(lines)).text("")


DISTRIBUTIONS = {
    "debian": Distribution(
        "debian-12-generic-amd64.qcow2",
        "SHA512SUMS",
        "sha512",
        "{a}  debian-12-generic-amd64.json\n{digest}  {image}\n{b}  debian-12-generic-amd64.raw\n",
    ),
    "ubuntu": Distribution(
        "noble-server-cloudimg-amd64.img",
        "SHA256SUMS",
        "sha256",
        "{a} *noble-server-cloudimg-amd64-azure.vhd.tar.gz\n"
        "{digest} *{image}\n"
        "{b} *noble-server-cloudimg-amd64.manifest\n",
    ),
    "fedora": Distribution(
        "Fedora-Cloud-Base-Generic-41-1.4.x86_64.qcow2",
        "Fedora-Cloud-41-1.4-x86_64-CHECKSUM",
        "sha256",
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
        "# Fedora-Cloud-Base-AmazonEC2-41-1.4.x86_64.raw.xz: 390721932 bytes\n"
        "SHA256 (Fedora-Cloud-Base-AmazonEC2-41-1.4.x86_64.raw.xz) = {a}\n"
        "# {image}: 491716608 bytes\n"
        "SHA256 ({image}) = {digest}\n"
        "-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=UJ/c\n-----END PGP SIGNATURE-----\n",
    ),
    "alpine": Distribution(
        "nocloud_alpine-3.21.0-x86_64-bios-cloudinit-r0.qcow2",
        "nocloud_alpine-3.21.0-x86_64-bios-cloudinit-r0.qcow2.sha512",
        "sha512",
        "{digest}\n",
    ),
    "opensuse": Distribution(
        "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2",
        "openSUSE-Leap-15.6-Minimal-VM.x86_64-Cloud.qcow2.sha256",
        "sha256",
        "{digest}  {image}\n",
    ),
    "freebsd": Distribution(
        "FreeBSD-14.2-RELEASE-amd64.qcow2.xz",
        "CHECKSUM.SHA512",
        "sha512",
        "SHA512 (FreeBSD-14.2-RELEASE-amd64.raw.xz) = {a}\n"
        "SHA512 ({image}) = {digest}\n"
        "SHA512 (FreeBSD-14.2-RELEASE-amd64.vhd.xz) = {b}\n",
    ),
}
