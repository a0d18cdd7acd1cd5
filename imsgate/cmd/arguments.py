"""Arguments that several commands share, and the configuration that they name."""

import argparse
import math
import re
import time
from typing import Any

from imsgate import config


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-file`` and ``--state``."""
    parser.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="FILE",
        help="an imsgate.conf; may be repeated (default: where oslo.config looks for it)",
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="directory of the database, images and tokens (default: [DEFAULT] state_path, "
        "which defaults to imsgate in the user's XDG state directory)",
    )


def positive(text: str) -> int:
    """Argument type: a whole number above 0."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def address(text: str) -> str:
    """Argument type: HOST:PORT, or unix:PATH."""
    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= _MAX_PORT
    if host != "unix" and not (colon and is_port):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return text


def add_bind(parser: argparse.ArgumentParser, *, default: str | None, help: str) -> None:
    """Add ``--bind`` and ``--socket-mode``. ``help`` says what the address is for."""
    parser.add_argument("--bind", type=address, default=default, metavar="HOST:PORT", help=help)
    parser.add_argument(
        "--socket-mode",
        type=mode,
        default="660",
        metavar="MODE",
        help="permissions of the Unix socket, in octal digits (default: %(default)s: the user and "
        "the group of this process may connect)",
    )


def mode(text: str) -> int:
    """Argument type: the permissions of a file in octal digits."""
    if not _MODE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not three octal digits, such as 660")
    return int(text, 8)


def seconds(text: str) -> float:
    """Argument type: a number of seconds, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return number


def name(text: str) -> str:
    """Argument type: a name, which may not be blank."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


_MAX_PORT = 65535
_MODE = re.compile("0?[0-7]{3}")
#: A century.
_MAX_DAYS = 36525


def days(text: str) -> float:
    """Argument type: a number of days, at most a century."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= _MAX_DAYS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of days above 0 and at most {_MAX_DAYS}"
        )
    return number


def global_conf(args: argparse.Namespace) -> dict[str, str]:
    """The arguments as Paste's global section, from which every factory loads its configuration."""
    values = {"config_file": ",".join(args.config_file), "state_path": args.state}
    return {key: value for key, value in values.items() if value}


def load(args: argparse.Namespace) -> config.Config:
    """Load the configuration that the arguments name. Raises BadConfig."""
    return config.load(global_conf(args))


def add_grant(parser: argparse.ArgumentParser) -> None:
    """Add ``--role`` and ``--days``, which say what a new credential allows, and until when."""
    parser.add_argument(
        "--role",
        type=name,
        action="append",
        metavar="ROLE",
        help="admin, member, reader or another role; may be repeated (default: member and reader)",
    )
    parser.add_argument(
        "--days", type=days, help="number of days until it expires (default: never)"
    )


def granted(args: argparse.Namespace) -> dict[str, Any]:
    """Their values: ``roles``, and ``expires`` in seconds since the epoch or None."""
    expires = None if args.days is None else time.time() + args.days * 86400
    return {"roles": args.role or ["member", "reader"], "expires": expires}
