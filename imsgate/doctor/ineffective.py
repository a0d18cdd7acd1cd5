"""Options that are read and have no effect: another option, or the Paste file, decides."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from paste.deploy import loadwsgi

from imsgate import opts
from imsgate.config import UnreadPlace, sections
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation

_NAME = "configuration.ineffective"


@dataclasses.dataclass(frozen=True, slots=True)
class _Rule:
    """The options of a section (none stands for all others) need another option.

    ``needs`` is a section and an option, and ``serves`` decides whether its value will do.
    """

    section: str
    options: tuple[str, ...]
    needs: tuple[str, str]
    serves: Callable[[Any], bool] = bool

    def concerns(self, section: str, option: str) -> bool:
        if section != self.section or (section, option) == self.needs:
            return False
        return not self.options or option in self.options


_RULES = (
    _Rule("jobs", ("broker_url", "queue", "resend"), ("jobs", "engine"), "celery".__eq__),
    _Rule("webhooks", (), ("webhooks", "urls")),
    _Rule("ims_buckets", (), ("ims_buckets", "driver")),
    _Rule("cors", (), ("cors", "allowed_origin")),
    _Rule("forward", ("spool_limit", "spool_seal_file"), ("forward", "spool_store")),
    _Rule("forward", ("key_file",), ("forward", "cert_file")),
    _Rule("metrics", (), ("metrics", "enabled")),
    _Rule("quota", (), ("DEFAULT", "use_keystone_limits"), lambda value: not value),
    _Rule("database", (), ("registry", "driver"), "sql".__eq__),
    _Rule("web_download", (), ("DEFAULT", "enabled_import_methods"), lambda v: "web-download" in v),
)


def check(installation: Installation, unread: list[UnreadPlace]) -> Iterator[Diagnosis]:
    """One finding for each option. Those in ``unread`` are left out."""
    conf = installation.conf
    skipped = {(place.section, place.option) for place in unread}
    for path in conf.files():
        for section, values in sections(path).items():
            for option in values:
                if not skipped & {(section, None), (section, option)}:
                    yield from _judge(installation, UnreadPlace(path, section, option))


def _judge(installation: Installation, place: UnreadPlace) -> Iterator[Diagnosis]:
    section, option = place.section, place.option or ""
    for rule in _RULES:
        if rule.concerns(section, option) and not _serves(installation, rule):
            needed, name = rule.needs
            yield _finding(
                f"{place} has no effect because of the value of [{needed}] {name}.",
                f"Change [{needed}] {name}, or remove this option.",
            )
    if _is_overridden(installation, section, option):
        yield _finding(
            f"{place} has no effect: the Paste file sets it for this filter.",
            "Remove it here or in the Paste file.",
        )


def _serves(installation: Installation, rule: _Rule) -> bool:
    group, name = rule.needs
    known = ((each, option) for each, options in opts.list_opts() for option in options)
    option = next(option for each, option in known if each == group and option.dest == name)
    return rule.serves(getattr(installation.conf.section(group, [option]), name))


def _is_overridden(installation: Installation, section: str, option: str) -> bool:
    """Whether every filter of this name has a Paste key of this name."""
    filters = [
        part
        for part in installation.parts
        if part.object_type is loadwsgi.FILTER and part.entry_point_name == section
    ]
    return bool(filters) and all(option in part.local_conf for part in filters)


def _finding(message: str, advice: str) -> Diagnosis:
    return Diagnosis(check=_NAME, severity=Severity.WARNING, message=message, advice=advice)
