"""Arguments that the commands of the client share, and how they end."""

import argparse
import sys
from collections.abc import Callable

from imsgate.client.failures import Failure, TransferInterrupted

#: Exit statuses, as doc/client.md lists them.
EPILOG = (
    "Exit status: 0 success, 1 failure, 2 wrong usage, 3 the image is refused, 4 interrupted "
    "(the same command continues it), 5 not authenticated or not allowed."
)
_INTERRUPTED = 4


def add_connection(
    parser: argparse.ArgumentParser, *, patience: float = 900.0, inherited: bool = False
) -> None:
    """Add what selects the service and the credentials.

    ``patience`` is the default of its option. If the options are ``inherited``, an outer parser
    has them as well, and its values count unless this one gets others.
    """
    group = parser.add_argument_group(
        "service",
        "Credentials come from clouds.yaml or OS_*, as for the OpenStack client, or from "
        "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK with OS_ENDPOINT.",
    )
    group.add_argument("--cloud", metavar="NAME", help="a cloud of clouds.yaml (env: OS_CLOUD)")
    group.add_argument("--os-token", metavar="TOKEN", help="a token; needs --os-endpoint")
    group.add_argument("--os-endpoint", metavar="URL", help="the URL of the image service")
    group.add_argument("--os-region-name", metavar="NAME", help="the region (env: OS_REGION_NAME)")
    group.add_argument(
        "--patience",
        type=seconds,
        default=argparse.SUPPRESS if inherited else patience,
        metavar="SECONDS",
        help="give up after this time without any progress; 0 tries nothing again "
        f"(default: {patience:.0f})",
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--progress",
        choices=("auto", "bar", "json", "none"),
        default="auto",
        help="a bar, lines of JSON, or nothing, on standard error (default: a bar on a terminal)",
    )


def seconds(text: str) -> float:
    """Argument type: a number of seconds, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return number


def ended(work: Callable[[], int], resumable: Callable[[], str | None] = lambda: None) -> int:
    """Run a command and return its exit status; print why it fails.

    ``resumable`` is what the user can do after an interruption, in words.
    """
    try:
        return work()
    except KeyboardInterrupt:
        status, why = _INTERRUPTED, "interrupted"
    except TransferInterrupted as error:
        status, why = error.status, str(error)
    except Failure as error:
        print(f"imsgate: {error}", file=sys.stderr)
        return error.status
    print(f"imsgate: {why}", file=sys.stderr)
    if advice := resumable():
        print(f"imsgate: {advice}", file=sys.stderr)
    return status
