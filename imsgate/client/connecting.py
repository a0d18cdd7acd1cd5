"""Connects to the service that the arguments of a command name."""

import argparse

from imsgate.client import credentials
from imsgate.client.connection import Connection
from imsgate.client.failures import Cut
from imsgate.client.progress import ProgressDisplay
from imsgate.client.retries import Retries


def connect(args: argparse.Namespace, progress: ProgressDisplay) -> Connection:
    """Raises NotAllowed, and TransferInterrupted if Keystone cannot be reached for too long."""

    def report(why: str, seconds: float) -> None:
        if seconds >= 1:
            progress.note(f"{why}; trying again in {seconds:.0f} s")

    retries = Retries(args.patience, report=report)
    options = credentials.Options(
        cloud=args.cloud,
        token=args.os_token,
        endpoint=args.os_endpoint,
        region=args.os_region_name,
    )
    while True:
        try:
            return Connection(credentials.find(options), retries)
        except Cut as cut:
            retries.wait(str(cut))
