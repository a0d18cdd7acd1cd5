"""The configuration: what the server would refuse, and what has no effect."""

import difflib
from collections.abc import Iterator

from imsgate import opts
from imsgate.config import UnreadPlace
from imsgate.doctor import ineffective, startup
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation
from imsgate.stores import loader

#: That of `imsgate serve`.
_THREADS = 128

#: Sections of libraries, and the filter or the option that makes one read them.
_LIBRARIES = {
    "keystone_authtoken": "the filter authtoken",
    "oslo_limit": "[DEFAULT] use_keystone_limits",
    "oslo_messaging_notifications": "its option driver",
    "oslo_messaging_rabbit": "a driver in [oslo_messaging_notifications]",
    "service_credentials": "the filter authtoken",
    "barbican": "the verification of signatures",
    "audit_middleware_notifications": "the filter audit",
    "cors": "the filter cors",
    "oslo_middleware": "the filter http_proxy_to_wsgi",
    "healthcheck": "the healthcheck application",
}


def check(installation: Installation) -> Iterator[Diagnosis]:
    """Each problem, and each option without effect."""
    result = startup.check(installation.global_conf, installation.paste, _THREADS)
    for problem in result.problems:
        yield Diagnosis(
            check="configuration",
            severity=Severity.ERROR,
            message=f"The server would not start: {problem}.",
            advice=f"Correct {problem.key}.",
        )
    if result.problems:
        message = "Options without effect are looked for when these problems are solved."
        yield Diagnosis(check="configuration.unread", severity=Severity.SKIPPED, message=message)
        return
    for place in result.unread:
        yield Diagnosis(
            check="configuration.unread",
            severity=Severity.WARNING,
            message=f"{place} has no effect.",
            advice=_why(place, installation),
        )
    yield from ineffective.check(installation, result.unread)
    message = "The server would start with this configuration."
    yield Diagnosis(check="configuration", severity=Severity.OK, message=message)


def _why(place: UnreadPlace, installation: Installation) -> str:
    """Why nothing reads it, and what to do."""
    known: dict[str, set[str]] = {}
    for group, options in opts.list_opts():
        known.setdefault(group, set()).update(str(option.dest) for option in options)
    enabled = installation.conf.read(loader.EnabledSettings).enabled_backends
    for store_id, kind in loader.drivers(installation.conf).items():
        known[store_id] = {str(option.dest) for option in kind.OPTS}
    section = place.section
    if place.option is None:
        return _why_section(section, set(known), enabled)
    if close := difflib.get_close_matches(place.option, known.get(section, ()), 1):
        return f"Write '{close[0]}', if that is meant, or remove it."
    elsewhere = [f"[{name}]" for name, options in known.items() if place.option in options]
    if elsewhere:
        return f"Move it to {' or '.join(elsewhere)}, or remove it."
    return f"[{section}] has no such option: remove it, or correct its name."


def _why_section(section: str, known: set[str], enabled: dict[str, str]) -> str:
    if section in {kind.NAME for kind in opts.FILTERS}:
        return (
            f"The pipeline does not have the filter {section}: remove the section, or choose "
            "another [paste_deploy] flavor."
        )
    if section in _LIBRARIES:
        return f"Only {_LIBRARIES[section]} reads it: configure that, or remove the section."
    if section in loader.installed():
        return (
            f"Add a store of the driver {section} with this id to [DEFAULT] enabled_backends, "
            f"or remove the section. The stores are: {', '.join(enabled)}."
        )
    if section in known:
        return "The applications of this pipeline do not need it: remove the section."
    if close := difflib.get_close_matches(section, {*known, *_LIBRARIES}, 1):
        return f"Write [{close[0]}], if that is meant, or remove the section."
    return "There is neither a part nor a store of this name: remove the section."
