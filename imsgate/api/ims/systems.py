"""Operating systems: what is offered, and what ``__os_version`` says of an image. Pure."""

import dataclasses
import re
from typing import Any

from imsgate.errors import BadAttribute

#: What an image without ``__os_version`` is taken for.
DEFAULT = "Other Linux(64 bit)"

#: Platforms by how their versions begin. The first that fits counts.
_PLATFORMS = (
    ("Other Windows", "Other"),
    ("Other", "Other"),
    ("Windows", "Windows"),
    ("Ubuntu", "Ubuntu"),
    ("Red Hat", "RedHat"),
    ("RedHat", "RedHat"),
    ("Redhat", "RedHat"),
    ("CentOS", "CentOS"),
    ("Debian", "Debian"),
    ("OpenSUSE", "OpenSUSE"),
    ("openSUSE", "OpenSUSE"),
    ("SUSE", "SUSE"),
    ("Oracle Linux", "Oracle Linux"),
    ("Fedora", "Fedora"),
    ("CoreOS", "CoreOS"),
    ("EulerOS", "EulerOS"),
    ("openEuler", "openEuler"),
    ("Huawei Cloud EulerOS", "Huawei Cloud EulerOS"),
    ("AlmaLinux", "AlmaLinux"),
    ("Rocky Linux", "Rocky Linux"),
    ("Kylin", "Kylin"),
    ("UnionTech OS", "UnionTech"),
)

_VERSION = re.compile(r"[ -~]{1,128}")
_BITS_32 = re.compile(r"\b(32) ?bit\b")

_OFFERED = (
    *(
        f"Windows Server {year} {edition} 64bit"
        for year in ("2022", "2019", "2016", "2012 R2")
        for edition in ("Datacenter", "Standard")
    ),
    *("Windows 11 64bit", "Windows 10 64bit", "Other Windows (64 bit)"),
    *(f"Ubuntu {version} server 64bit" for version in ("24.04", "22.04", "20.04", "18.04")),
    *(f"CentOS {version} 64bit" for version in ("8.2", "8.0", "7.9", "7.6", "6.10")),
    *(f"Debian {version} 64bit" for version in ("12.0.0", "11.1.0", "10.0.0")),
    *(f"Redhat Linux Enterprise {version} 64bit" for version in ("9.0", "8.4", "7.6")),
    *(f"SUSE Enterprise {version} 64bit" for version in ("15 SP3", "12 SP5")),
    *(f"OpenSUSE {version} 64bit" for version in ("15.3", "15.0")),
    *(f"Oracle Linux Server release {version} 64bit" for version in ("8.6", "7.6")),
    *(f"Fedora {version} 64bit" for version in ("38", "32")),
    "CoreOS 2079.4.0 64bit",
    *(f"EulerOS {version} 64bit" for version in ("2.10", "2.9", "2.5")),
    "openEuler 22.03 64bit",
    "Huawei Cloud EulerOS 2.0 Standard 64 bit",
    *("AlmaLinux 9.0 64bit", "Rocky Linux 9.0 64bit"),
    *(DEFAULT, "Other Linux(32 bit)"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """``kind`` is Linux or Windows, ``bits`` 32 or 64."""

    version: str
    platform: str
    kind: str
    bits: int

    def attributes(self) -> dict[str, str]:
        """What an image has that it is on."""
        return {
            "__os_version": self.version,
            "__os_type": self.kind,
            "__platform": self.platform,
            "__os_bit": str(self.bits),
        }


def parse(version: Any) -> System:
    """The system of a version, also of one that is not offered. Raises BadAttribute."""
    if isinstance(version, str) and _VERSION.fullmatch(version):
        for beginning, platform in _PLATFORMS:
            if version.startswith(beginning):
                kind = "Windows" if "Windows" in version else "Linux"
                bits = 32 if _BITS_32.search(version) else 64
                return System(version, platform, kind, bits)
    problem = "os_version: no platform's versions begin so; see GET /v1/cloudimages/os_version"
    raise BadAttribute("IMG.0056", problem=problem)


def offered() -> list[dict[str, Any]]:
    """All versions by platform, as the service lists them."""
    by_platform: dict[str, list[dict[str, Any]]] = {}
    for system in map(parse, _OFFERED):
        entry = {
            "platform": system.platform,
            "os_version_key": system.version,
            "os_version": system.version,
            "os_bit": system.bits,
            "os_type": system.kind,
        }
        by_platform.setdefault(system.platform, []).append(entry)
    return [{"platform": name, "version_list": found} for name, found in by_platform.items()]
