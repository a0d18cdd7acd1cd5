"""Operating systems: the supported ones, and what ``__os_version`` implies. Pure."""

import dataclasses
import re
from typing import Any

from imsgate.api.description import TEXT, listed, record
from imsgate.errors import BadAttribute

#: The version of an image without ``__os_version``.
DEFAULT = "Other Linux(64 bit)"

#: Platforms by the prefix of their versions. The first match counts.
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


_SYSTEM = record(
    {
        "platform": TEXT,
        "os_version_key": TEXT,
        "os_version": TEXT,
        "os_bit": {"enum": [32, 64]},
        "os_type": {"enum": ["Linux", "Windows"]},
    }
)
#: The schema of ``offered``.
SCHEMA = listed(record({"platform": TEXT, "version_list": listed(_SYSTEM)}))


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """``kind`` is Linux or Windows, ``bits`` 32 or 64."""

    version: str
    platform: str
    kind: str
    bits: int

    def attributes(self) -> dict[str, str]:
        """The attributes of an image with this system."""
        return {
            "__os_version": self.version,
            "__os_type": self.kind,
            "__platform": self.platform,
            "__os_bit": str(self.bits),
        }


def parse(version: Any) -> System:
    """The system of a version, which need not be a supported one. Raises BadAttribute."""
    if isinstance(version, str) and _VERSION.fullmatch(version):
        for prefix, platform in _PLATFORMS:
            if version.startswith(prefix):
                kind = "Windows" if "Windows" in version else "Linux"
                bits = 32 if _BITS_32.search(version) else 64
                return System(version, platform, kind, bits)
    problem = "os_version: unknown platform; see GET /v1/cloudimages/os_version"
    raise BadAttribute("IMG.0056", problem=problem)


def offered() -> list[dict[str, Any]]:
    """All supported versions by platform.

    IMS API, Image: Querying Supported Image OSs.
    """
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
    return [{"platform": name, "version_list": versions} for name, versions in by_platform.items()]
