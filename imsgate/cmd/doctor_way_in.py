"""The part of ``imsgate doctor`` that needs no installation: the way in through proxies."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imsgate.cmd import client_arguments
from imsgate.errors import BadConfig

if TYPE_CHECKING:
    from imsgate.doctor.diagnosis import Diagnosis

NAME = "way-in"
TEXT = "with --public-url: what proxies in front of the service do to requests"
#: Those of imsgate.doctor.way_in, which needs what the server needs.
_PATIENCE, _QUIET = 15.0, 50.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the way in",
        "Uploads small images through the public URL and deletes them again. It works from any "
        f"host; with '--check {NAME}' nothing else is checked, and no configuration is needed. "
        "Credentials come from clouds.yaml or OS_*, as for the OpenStack client, or from "
        "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK.",
    )
    group.add_argument(
        "--public-url", metavar="URL", help="the URL of the service as clients know it"
    )
    group.add_argument("--cloud", metavar="NAME", help="a cloud of clouds.yaml (env: OS_CLOUD)")
    group.add_argument("--os-token", metavar="TOKEN", help="a token of a member of a project")
    group.add_argument("--os-region-name", metavar="NAME", help="the region (env: OS_REGION_NAME)")
    group.add_argument(
        "--patience",
        type=client_arguments.seconds,
        default=_PATIENCE,
        metavar="SECONDS",
        help=f"how long an answer may take (default: {_PATIENCE:.0f})",
    )
    group.add_argument(
        "--quiet",
        type=client_arguments.seconds,
        default=_QUIET,
        metavar="SECONDS",
        help="how long an upload pauses to find a proxy that cuts it; 0 skips this check "
        f"(default: {_QUIET:.0f}, less than [pace] idle_timeout)",
    )


def findings(args: argparse.Namespace) -> "Iterator[Diagnosis]":
    """What the probes find. Raises BadConfig without a public URL."""
    from imsgate.client import credentials  # noqa: PLC0415 - other commands do not need it
    from imsgate.client.failures import Cut, Failure  # noqa: PLC0415
    from imsgate.doctor import way_in  # noqa: PLC0415
    from imsgate.doctor.diagnosis import Diagnosis, Severity  # noqa: PLC0415

    if not args.public_url:
        raise BadConfig("--public-url", f"it is required for --check {NAME}")
    options = credentials.Options(
        cloud=args.cloud,
        token=args.os_token,
        endpoint=args.public_url,
        region=args.os_region_name,
    )
    try:
        found = credentials.find(options)
    except (Failure, Cut) as error:
        yield Diagnosis(
            check=f"{NAME}.credentials",
            severity=Severity.ERROR,
            message=f"There are no credentials to examine the way in: {error}.",
            advice="Set OS_* or use --cloud or --os-token.",
        )
        return
    patience = args.patience
    yield from way_in.checks(found, patience=patience, held=patience, quiet=args.quiet)
