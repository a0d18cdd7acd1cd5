"""Arguments and look-ups that several subcommands share."""

import argparse
import contextlib
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import imsgate
from imsgate import config
from imsgate.errors import BadConfig


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config-file`` and ``--state``."""
    parser.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="FILE",
        help="an imsgate.conf; may be repeated (default: oslo.config's usual places)",
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="directory for database, images and tokens (default: [DEFAULT] state_path, "
        "which is imsgate under the user's XDG state directory)",
    )


def positive(text: str) -> int:
    """The ``type`` of an argument."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def name(text: str) -> str:
    """The ``type`` of an argument that names somebody or something."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


#: A century.
_MOST_DAYS = 36525


def days(text: str) -> float:
    """The ``type`` of an argument: days, at most a century."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of days above 0 and up to {_MOST_DAYS}"
        )
    return number


def global_conf(args: argparse.Namespace) -> dict[str, str]:
    """The arguments as Paste's global section, which every factory reads."""
    values = {"config_file": ",".join(args.config_file), "state_path": args.state}
    return {key: value for key, value in values.items() if value}


def load(args: argparse.Namespace) -> config.Config:
    """The configuration that the arguments name. Raises BadConfig."""
    return config.load(global_conf(args))


@contextlib.contextmanager
def naming(key: str, path: str) -> Iterator[None]:
    """Raises BadConfig where the system refuses to write ``path``."""
    try:
        yield
    except OSError as error:
        raise BadConfig(key, f"{path} cannot be written: {error.strerror}") from error


def make_state(conf: config.Config) -> None:
    """The state directory, made where there is none. Raises BadConfig."""
    with naming("[DEFAULT] state_path", conf.state_path):
        os.makedirs(conf.state_path, mode=0o700, exist_ok=True)


#: The application of the Paste file that is served by default.
_MAIN = "main"
#: What the extra imsgate[keystone] brings.
_KEYSTONE = ("keystoneauth1", "keystonemiddleware")


def paste_uri(conf: config.Config, named: str | None) -> str:
    """The application to serve, as PasteDeploy names it. Raises BadConfig."""
    flavor = conf.section(config.PASTE_GROUP, config.PASTE_OPTS).flavor or _MAIN
    return f"config:{paste_file(named)}#{flavor}"


def unloadable(paste: str, error: Exception) -> BadConfig:
    """Why PasteDeploy could not load what ``paste_uri`` named."""
    problem = str(error)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in _KEYSTONE:
        problem += "; this needs the extra imsgate[keystone]"
    if paste.endswith(f"#{_MAIN}"):
        return BadConfig(paste, problem)
    return BadConfig(f"[{config.PASTE_GROUP}] flavor", f"{paste}: {problem}")


def paste_file(named: str | None) -> str:
    """The Paste file named, or the first that is installed. Raises BadConfig."""
    if named:
        candidates = [pathlib.Path(named)]
    else:
        source_tree = pathlib.Path(imsgate.__file__).parent.parent
        places = ("/etc/imsgate", f"{sys.prefix}/etc/imsgate", str(source_tree / "etc"))
        candidates = [pathlib.Path(place) / "imsgate-paste.ini" for place in places]
    for path in candidates:
        if path.is_file():
            return str(path.resolve())
    raise BadConfig("imsgate-paste.ini", f"not found in {', '.join(map(str, candidates))}")


def add_grant_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a command that lets somebody in."""
    parser.add_argument(
        "--role",
        type=name,
        action="append",
        metavar="ROLE",
        help="admin, member, reader …; may be repeated (default: member and reader)",
    )
    parser.add_argument("--days", type=days, help="days until it expires (default: never)")


def granted(args: argparse.Namespace) -> dict[str, Any]:
    """What they say: ``roles``, and ``expires`` in seconds since the epoch or None."""
    expires = None if args.days is None else time.time() + args.days * 86400
    return {"roles": args.role or ["member", "reader"], "expires": expires}
