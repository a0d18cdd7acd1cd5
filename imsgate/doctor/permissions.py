"""Permissions: files with secrets are closed to other users, directories can be written."""

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterator

from oslo_config import cfg

from imsgate import opts
from imsgate.config import Config, sections
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation
from imsgate.errors import BadConfig
from imsgate.filters.metrics import MetricsSettings
from imsgate.registry.sql import database, schema
from imsgate.registry.sql.database import DatabaseSettings
from imsgate.server import pastefile

#: Options whose values are secrets, in all sections, those of libraries included.
SECRET_OPTION = re.compile(
    r"(?:^|_)(?:password|passwd|secret|secret_key|admin_token|store_token|hmac_key)$"
)
#: A URL with a password.
_SECRET_URL = re.compile(r"://[^/\s@]*:[^/\s@]+@")
#: Options that name files with secrets.
SECRET_FILE_OPTION = re.compile(
    r"(?:^|_)(?:key|keys|token|tokens|seal|projects|cert|password|secret)_?file$"
)
#: A file with a certificate may contain its key as well.
_CERTIFICATE_OPTION = re.compile(r"(?:^|_)cert_?file$")
_PRIVATE_KEY = b"PRIVATE KEY-----"
_MAX_PEM_BYTES = 1 << 20

_OTHERS = stat.S_IRWXO
_WRITERS = stat.S_IWGRP | stat.S_IWOTH


def check(installation: Installation) -> Iterator[Diagnosis]:
    """Findings for each file and directory whose permissions are wrong; one if all are right."""
    is_right = True
    for finding in itertools.chain(_files(installation), _directories(installation)):
        is_right = False
        yield finding
    if is_right:
        message = "No other user can read the files with secrets, or write to the directories."
        yield Diagnosis(check="permissions", severity=Severity.OK, message=message)


def _files(installation: Installation) -> Iterator[Diagnosis]:
    conf = installation.conf
    for path in conf.files():
        secret = _has_secrets(path)
        yield from _file(path, "configuration", mask=_OTHERS | _WRITERS if secret else _WRITERS)
    with contextlib.suppress(BadConfig):  # the configuration check reports it
        yield from _file(pastefile.find(installation.paste), "configuration", mask=_WRITERS)
    if policy := _policy_file(conf):
        yield from _file(policy, "configuration", mask=_WRITERS)
    for path in sorted(_secret_files(installation)):
        yield from _file(path, "secret", mask=_OTHERS | _WRITERS)
    settings = conf.read(DatabaseSettings)
    with contextlib.suppress(BadConfig):  # the configuration check reports it
        if schema.is_embedded(settings):
            path = os.path.abspath(database.parse(settings).database or "")
            for name in (path, f"{path}-wal", f"{path}-shm"):
                yield from _file(name, "database", mask=_OTHERS | _WRITERS)
                yield from _writable(name, "database")


def _policy_file(conf: Config) -> str | None:
    option = cfg.StrOpt("policy_file", default="policy.yaml")
    name = _separate(conf).section("oslo_policy", [option]).policy_file
    path: str | None = conf.native.find_file(name)
    return path


def _separate(conf: Config) -> Config:
    """The same configuration, read again: ``conf`` records which options were read."""
    return Config(conf.files(), conf.state_path)


def _has_secrets(path: str) -> bool:
    return any(
        text and (SECRET_OPTION.search(key) or _SECRET_URL.search(text))
        for values in sections(path).values()
        for key, texts in values.items()
        for text in texts
    )


def _secret_files(installation: Installation) -> set[str]:
    """The existing files that hold secrets, by the options that name them."""
    files = installation.conf.files()
    conf = _separate(installation.conf)
    own = [(group, option) for group, options in opts.list_opts() for option in options]
    options = [(group, opt) for group, opt in own if SECRET_FILE_OPTION.search(str(opt.dest))]
    known = {(group, opt.dest) for group, opt in options}
    for path in files:
        for section, values in sections(path).items():
            names = [name for name in values if SECRET_FILE_OPTION.search(name)]
            options += [
                (section, cfg.StrOpt(name)) for name in names if (section, name) not in known
            ]
    found = {os.path.join(installation.conf.state_path, "admin-token")}
    for group, option in options:
        with contextlib.suppress(BadConfig):
            value = getattr(conf.section(group, [option]), str(option.dest))
            if value and (not _CERTIFICATE_OPTION.search(str(option.dest)) or _has_key(value)):
                found.add(os.path.abspath(value))
    return {path for path in found if os.path.isfile(path)}


def _has_key(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _PRIVATE_KEY in file.read(_MAX_PEM_BYTES)
    except OSError:
        return False


def _directories(installation: Installation) -> Iterator[Diagnosis]:
    conf = installation.conf
    directories = {conf.state_path: "state"}
    if installation.has_records:
        for backend in installation.backends:
            store = backend.started
            directory = store.properties().get("data_dir") if store else None
            if directory is not None and store is not None and not store.read_only:
                directories[directory] = backend.id
    metrics = conf.read(MetricsSettings)
    if metrics.enabled and installation.filter_options("metrics") is not None:
        directories[metrics.directory] = "metrics"
    for path, name in directories.items():
        if os.path.isdir(path):
            yield from _file(path, name, mask=_WRITERS)
            yield from _writable(path, name)


def _file(path: str, name: str, *, mask: int) -> Iterator[Diagnosis]:
    """A finding if the file or directory allows others what ``mask`` contains."""
    try:
        status = os.stat(path)
    except OSError:
        return
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX:
        mask &= ~stat.S_IWOTH  # as /tmp: others can add files, and touch only their own
    if not _is_reachable(path):
        mask &= ~_OTHERS
    if not mode & mask:
        return
    allowed = mode & ~mask
    grave = mode & mask & _OTHERS
    mine = status.st_uid == os.geteuid()
    what = "written" if mode & mask & _WRITERS else "read"
    by = "every user of this host" if grave else "all members of its group"
    yield Diagnosis(
        check=f"permissions.{name}",
        severity=Severity.ERROR if grave else Severity.WARNING,
        message=f"{path} can be {what} by {by} (mode {mode:04o}).",
        advice=f"Run 'chmod {allowed:04o} {path}'"
        + ("." if mine else ", and make the service's group its group if it must read it."),
        fix=(lambda: _change_mode(path, allowed)) if mine else None,
    )


def _is_reachable(path: str) -> bool:
    """Whether every user of this host may enter the directories on the way to it."""
    directory = os.path.dirname(os.path.abspath(path))
    while os.stat(directory).st_mode & stat.S_IXOTH:
        parent = os.path.dirname(directory)
        if parent == directory:
            return True
        directory = parent
    return False


def _change_mode(path: str, mode: int) -> str:
    os.chmod(path, mode)
    return f"{path} has mode {mode:04o} now."


def _writable(path: str, name: str) -> Iterator[Diagnosis]:
    if os.path.exists(path) and not os.access(path, os.W_OK | os.R_OK):
        yield Diagnosis(
            check=f"permissions.{name}",
            severity=Severity.ERROR,
            message=f"{path} cannot be written by this user ({os.geteuid()}).",
            advice="Make the service's user its owner, and run this command as that user.",
        )
