"""``imsgate verify``: read image data, compare it with its digests, and repair damaged copies."""

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from imsgate import errors
from imsgate.cmd import arguments
from imsgate.errors import BadConfig
from imsgate.model import UNFINISHED, Job, JobState
from imsgate.services import Services, load_services
from imsgate.verification import checking
from imsgate.verification.checking import (
    CheckResult,
    CheckState,
    Place,
    Verifier,
    longest_unchecked,
)

#: The exit status that shells report for a program that Ctrl+C has ended.
_ENDED_BY_SIGINT = 128 + signal.SIGINT

#: Seconds between two looks at a repair that another process does.
_POLL_SECONDS = 1.0


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "verify",
        help="compare image data with its digests, and repair damaged copies",
        description="Read copies of image data, compare them with size and digests of the image, "
        "and record what is damaged. The copy whose check is the longest ago is read first. Exits "
        "with 0 if all copies are good or were repaired, 1 if one is damaged or could not be "
        "checked, 2 for an invalid configuration.",
    )
    arguments.add_config(parser)
    parser.add_argument("image", nargs="*", metavar="IMAGE", help="only these images")
    parser.add_argument(
        "--store",
        action="append",
        metavar="ID",
        help="only copies in this store; may be repeated (default: all)",
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        metavar="MIB/S",
        help="the most MiB that are read per second (default: unlimited)",
    )
    parser.add_argument(
        "--sample",
        type=arguments.positive,
        metavar="N",
        help="only N copies, those whose check is the longest ago",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="replace each damaged copy by a new one, made from a good copy",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.set_defaults(run=run)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return rate


def run(args: argparse.Namespace) -> int:
    """Raises BadConfig."""
    if args.image and args.sample:
        raise BadConfig("--sample", "it cannot be combined with images")
    services = load_services(arguments.load(args))
    # What it finds is printed; without a handler, Python would print it a second time.
    checking.LOG.addHandler(logging.NullHandler())
    command = _Command(args, services)
    try:
        return command.run()
    except KeyboardInterrupt:
        return _ENDED_BY_SIGINT
    except errors.Unavailable as error:
        print(f"imsgate: {error}", file=sys.stderr)
        return 1
    finally:
        services.registry.close()


class _Command:
    def __init__(self, args: argparse.Namespace, services: Services) -> None:
        self._args = args
        self._services = services
        self._counts = dict.fromkeys(CheckState, 0)
        self._repaired = 0
        self._unknown = 0

    def run(self) -> int:
        self._check_stores()
        if self._args.repair and self._services.read_only.is_on():
            raise BadConfig("--repair", "the service is read-only")
        verifier = Verifier(self._services.registry, self._services.stores, rate=self._args.rate)
        show = _JsonList() if self._args.json else _Lines()
        with show:
            for result in verifier.verify(self._places()):
                self._counts[result.state] += 1
                show.add(result, self._repair(result))
        if not self._args.json:
            print(self._summary())
        bad = self._counts[CheckState.DAMAGED] - self._repaired
        return int(bool(bad or self._counts[CheckState.NOT_CHECKED] or self._unknown))

    def _check_stores(self) -> None:
        known = [backend.id for backend in self._services.stores]
        for store_id in self._args.store or ():
            if store_id not in known:
                problem = f"there is no store {store_id!r}; the configured stores are: "
                raise BadConfig("--store", problem + ", ".join(known))

    def _places(self) -> Iterator[Place]:
        registry, stores = self._services.registry, self._args.store
        if not self._args.image:
            yield from longest_unchecked(registry, stores, self._args.sample)
        for image_id in self._args.image:
            try:
                image = registry.get(image_id.lower())
            except errors.NotFound as error:
                self._unknown += 1
                print(f"imsgate: {error}", file=sys.stderr)
                continue
            yield from (
                (image.id, copy) for copy in image.copies if stores is None or copy.store in stores
            )

    def _repair(self, result: CheckResult) -> str | None:
        """What became of the repair of a damaged copy; None without a repair."""
        if result.state is not CheckState.DAMAGED or not self._args.repair:
            return None
        try:
            job = self._services.repairs.start(self._services.registry.get(result.image_id))
        except (errors.Conflict, errors.NotFound) as error:
            return f"not started: {error}"
        if job is None:
            return "impossible: there is no good copy, or the store is read-only"
        job = self._finish(job)
        if job.state is not JobState.SUCCESS:
            return f"failed: {job.reason or 'it waits while the service is read-only'}"
        self._repaired += 1
        return "repaired"

    def _finish(self, job: Job) -> Job:
        """Do the job here, unless another process does it; return it after its end."""
        while job.state in UNFINISHED and not self._services.read_only.is_on():
            if not self._services.engine.run_one(job.id):
                time.sleep(_POLL_SECONDS)
            job = self._services.registry.get_job(job.id)
        return job

    def _summary(self) -> str:
        parts = [f"{self._counts[state]} {state.replace('_', ' ')}" for state in CheckState]
        repaired = f", {self._repaired} repaired" if self._args.repair else ""
        return f"Copies: {', '.join(parts)}{repaired}"


class _Lines:
    """A line for each copy that is not good."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def add(self, result: CheckResult, repair: str | None) -> None:
        if result.state is CheckState.GOOD:
            return
        text = f"{result.image_id} in {result.location.store}: {result.state.replace('_', ' ')}"
        rest = f"; {repair}" if repair else ""
        print(f"{text}: {result.problem}{rest}", flush=True)


class _JsonList:
    """One JSON list, printed as the results come, since there may be many."""

    def __init__(self) -> None:
        self._before = "["

    def __enter__(self) -> None:
        pass

    def add(self, result: CheckResult, repair: str | None) -> None:
        entry = {
            "image": result.image_id,
            "store": result.location.store,
            "state": result.state,
            "damage": result.damage,
            "problem": result.problem or None,
            "compared": result.compared,
            "bytes": result.bytes,
            "repair": repair,
        }
        print(self._before + json.dumps(entry), end="", flush=True)
        self._before = ",\n "

    def __exit__(self, *_: object) -> None:
        print("[]" if self._before == "[" else "]")
