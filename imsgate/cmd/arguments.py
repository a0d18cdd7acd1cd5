"""Arguments that several subcommands have, and the configuration that they name."""

import argparse
import math
import time
from typing import Any

from imsgate import config


def add_config(parser: argparse.ArgumentParser) -> None:
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


def seconds(text: str) -> float:
    """The ``type`` of an argument: seconds, from 0 on."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 on")
    return number


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


def add_grant(parser: argparse.ArgumentParser) -> None:
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
