"""What calls of the registry take with a million images, compared with a thousand.

    python benchmarks/scale.py [--images 1000000] [--projects 10000] [--rounds 15]
                               [--server postgresql mariadb] [--directory DIR]

Starts each database server on a temporary directory and fills two databases: one with 1000 images
and one with --images, which needs about 5 GB. What a user sees and what a sweep looks for is the
same in both (see tests/registry/crowd.py). Each call is made on both in turn, so that other load of
the machine affects both. Prints for each call the median CPU time, of the server and of this
process, and its ratio, and the median time. Exits with 1 if a ratio exceeds --limit.
"""

import argparse
import contextlib
import datetime
import itertools
import pathlib
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import report
import sqlalchemy as sa
import targets

from imsgate.api.listing import SORT_KEYS
from imsgate.model import Limits, Status, Visibility
from imsgate.registry.base import Condition, Op, Query
from imsgate.registry.sql import SqlRegistry
from imsgate.registry.sql.tables import IMAGES, LOCATIONS, PROPERTIES, TAGS
from imsgate.testing.records import START, image
from tests import databases
from tests.registry.crowd import Crowd, image_id

SMALL = 1000
#: A call that takes this long in all is not repeated further.
CALL_SECONDS = 10.0

Call = Callable[[], object]


class Postgresql(databases.Postgresql):
    def _command(self) -> list[str]:
        memory = ["shared_buffers=1GB", "maintenance_work_mem=256MB", "max_wal_size=8GB"]
        return [*super()._command(), *(part for each in memory for part in ("-c", each))]


class Mariadb(databases.Mariadb):
    def _command(self) -> list[str]:
        memory = ["--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M"]
        return [*super()._command(), *memory]


SERVERS: Mapping[str, type[databases.Server]] = {
    server.NAME: server for server in (Postgresql, Mariadb)
}


def fill(registry: SqlRegistry, crowd: Crowd) -> None:
    """Insert the records. Indexes are built afterwards, which takes a fraction of the time."""
    indexes = [i for table in (IMAGES, PROPERTIES, TAGS, LOCATIONS) for i in table.indexes]
    with registry._database.writing() as connection:
        for index in indexes:
            index.drop(connection)
        crowd.fill(connection)
        for index in indexes:
            index.create(connection)
    with registry._database.writing() as connection:
        for table in sa.inspect(connection).get_table_names():
            kind = "TABLE " if connection.dialect.name != "postgresql" else ""
            connection.exec_driver_sql(f"ANALYZE {kind}{table}")


def calls(registry: SqlRegistry, crowd: Crowd) -> dict[str, Call]:
    """What is measured, by name."""
    numbers = random.Random(1)
    alive = [
        n
        for n in range(0, crowd.count, crowd.count // SMALL)
        if crowd.image(n).status is Status.ACTIVE
    ]

    def new(**fields: Any) -> Any:
        return image(id=str(uuid.uuid4()), owner="new", name="bench", **fields)

    limits = Limits("me", {"image_size_total": 1 << 60, "image_count_total": 1 << 40})
    result: dict[str, Call] = {
        "show": lambda: registry.get(image_id(numbers.choice(alive))),
        "create": lambda: registry.add(new()),
        "create within limits": lambda: registry.add(
            image(id=str(uuid.uuid4()), owner="me", status=Status.DELETED), limits
        ),
        "change": lambda: registry.change(image_id(alive[0]), {}, name=str(numbers.random())),
        "quota: usage": lambda: registry.usage("me"),
        "sweep: expired": lambda: registry.expired(2.0),
        "sweep: idempotency keys": lambda: registry.forget_keys(1.0),
        "sweep: jobs": lambda: registry.forget_jobs(START),
        "sweep: uploads": lambda: registry.forget_uploads(0.5),
        "sweep: copies to check": lambda: registry.copies_to_check(1e4, ["fast"]),
        "sweep: damaged copies": registry.damaged_copies,
        "worker: free jobs": lambda: registry.free_jobs(["test"], 2.0),
        "metrics: activity": registry.activity,
    }
    middle = registry.get(image_id(alive[len(alive) // 2]))
    for name, query in pages(crowd).items():
        result[name] = lambda query=query: registry.list(query)  # type: ignore[misc]
    for key in SORT_KEYS:
        query = Query(admin=True, sort=[(key, True)], marker=middle)
        result[f"admin by {key}, middle"] = lambda query=query: registry.list(query)  # type: ignore[misc]
    return result


def pages(crowd: Crowd) -> dict[str, Query]:
    """Lists by name."""
    return {
        **{
            f"{viewer} by {key}{', down' if down else ''}": Query(
                viewer="me", admin=viewer == "admin", sort=[(key, down)]
            )
            for viewer, key, down in itertools.product(
                ("admin", "project"), SORT_KEYS, (False, True)
            )
        },
        "nobody": Query(),
        "project, all": Query(viewer="me", all_visibilities=True),
        **{
            f"project, {visibility}": Query(viewer="me", visibility=visibility)
            for visibility in Visibility
        },
        **{
            f"{viewer}, {name}": Query(viewer="me", admin=viewer == "admin", **wanted)
            for viewer, (name, wanted) in itertools.product(
                ("admin", "project"), _filters(crowd).items()
            )
        },
    }


def _filters(crowd: Crowd) -> dict[str, dict[str, Any]]:
    def where(field: str, op: Op, value: Any) -> dict[str, Any]:
        return {"conditions": [Condition(field, op, value)]}

    early = START + datetime.timedelta(seconds=50)
    half = START + datetime.timedelta(seconds=crowd.count // 2)
    return {
        "name": where("name", Op.EQ, "name-7"),
        "names": where("name", Op.IN, ("name-0", "name-7")),
        "name of nobody": where("name", Op.EQ, "nosuch"),
        "status active": where("status", Op.EQ, Status.ACTIVE),
        "status saving": where("status", Op.EQ, Status.SAVING),
        "status queued, none": where("status", Op.EQ, Status.QUEUED),
        "tag of few": {"tags": frozenset({"place-7"})},
        "tag of all": {"tags": frozenset({"all"})},
        "tag of half": {"tags": frozenset({"parity-0"})},
        "property of few": {"properties": {"place": "7"}},
        "property of all": {"properties": {"os_type": "linux"}},
        "property of the newest twentieth": {"properties": {"era": "19"}},
        "property of the oldest twentieth": {"properties": {"era": "0"}},
        "property and tag": {"properties": {"os_type": "linux"}, "tags": frozenset({"place-7"})},
        "owner": where("owner", Op.EQ, "me"),
        "size of few": {
            "conditions": [Condition("size", Op.GTE, 500), Condition("size", Op.LTE, 550)]
        },
        "size at most, few": where("size", Op.LTE, 50),
        "size at least, half": where("size", Op.GTE, crowd.count // 2),
        "size at most, half": where("size", Op.LTE, crowd.count // 2),
        "created before, few": where("created_at", Op.LT, early),
        "created since, half": where("created_at", Op.GTE, half),
        "created before, half": where("created_at", Op.LT, half),
        "updated before, few": where("updated_at", Op.LT, early),
        "updated since, half": where("updated_at", Op.GTE, half),
        "updated before, half": where("updated_at", Op.LT, half),
        "disk format of all": where("disk_format", Op.EQ, "raw"),
        "protected": where("protected", Op.EQ, True),
        **{str(each): {"visibility": each} for each in Visibility},
    }


class Stopwatch:
    """CPU time of the database server and of this process, which other load hardly changes."""

    def __init__(self, server: databases.Server) -> None:
        assert server.process is not None
        url = f"http://{databases.HOST}:{server.port}"
        self._server = targets.Target(server.NAME, url, server.process.pid, {})

    def time(self, call: Call) -> tuple[float, float]:
        """CPU time and time of a call, in ms."""
        before, start = self._cpu_seconds(), time.monotonic()
        call()
        elapsed = time.monotonic() - start
        return (self._cpu_seconds() - before) * 1e3, elapsed * 1e3

    def _cpu_seconds(self) -> float:
        return time.process_time() + self._server.cpu_seconds()


def measure(name: str, both: list[Call], rounds: int, stopwatch: Stopwatch) -> float:
    """Print the medians of one call on both databases; return the ratio of the CPU times."""
    taken: tuple[list[tuple[float, float]], ...] = ([], [])
    start = time.monotonic()
    for number in range(rounds + 1):
        for call, times in zip(both, taken, strict=True):
            if number:
                times.append(stopwatch.time(call))
            else:
                call()  # fills caches
        if number and time.monotonic() - start > CALL_SECONDS:
            break
    medians = [
        [statistics.median(column) for column in zip(*times, strict=True)] for times in taken
    ]
    (small, small_elapsed), (large, large_elapsed) = medians
    figures = f"{small:9.2f}{large:10.2f}{large / small:8.2f}"
    print(f"{name:44}{figures}{small_elapsed:9.2f}{large_elapsed:10.2f}", flush=True)
    return large / small


@contextlib.contextmanager
def filled(server: databases.Server, crowd: Crowd) -> Iterator[SqlRegistry]:
    with tempfile.TemporaryDirectory() as place:
        shared = databases.Shared(server.create(), pathlib.Path(place))
        with (
            contextlib.closing(shared),
            contextlib.closing(SqlRegistry(shared.settings)) as registry,
        ):
            start = time.monotonic()
            fill(registry, crowd)
            print(f"{crowd.count} images: {time.monotonic() - start:.0f} s", flush=True)
            yield registry


def run(server: databases.Server, args: argparse.Namespace) -> dict[str, float]:
    """The ratio of each call."""
    ratios = {}
    crowds = [Crowd(SMALL, args.projects), Crowd(args.images, args.projects)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(server))
        server.start()
        registries = [stack.enter_context(filled(server, crowd)) for crowd in crowds]
        small, large = map(calls, registries, crowds)
        stopwatch, counts = Stopwatch(server), f"{SMALL:9}{args.images:10}"
        print(f"{server.NAME + ': CPU ms, then ms':44}{counts}{'ratio':>8}{counts}")
        for name in small:
            if not args.only or any(text in name for text in args.only):
                both = [small[name], large[name]]
                ratios[name] = measure(name, both, args.rounds, stopwatch)
    return ratios


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000, help="a power of ten")
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--limit", type=float, default=1.5, help="ratio (default: %(default)s)")
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="calls whose names contain it")
    parser.add_argument("--directory", help="for the data (default: the temporary directory)")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    tempfile.tempdir = args.directory
    over = []
    for name in args.server:
        ratios = run(SERVERS[name](), args)
        report.save(f"scale-{name}", ratios)
        over += [f"{name}: {call}" for call, ratio in ratios.items() if ratio > args.limit]
    if over:
        raise SystemExit("\n".join([f"More than {args.limit} times as long:", *over]))


if __name__ == "__main__":
    main()
