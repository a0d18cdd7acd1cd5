"""All checks by their names, in the order in which they run."""

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

from imsgate import errors
from imsgate.doctor import (
    broker,
    configuration,
    data,
    database,
    digests,
    keystone,
    permissions,
    room,
    stores,
)
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation
from imsgate.errors import BadConfig

Check = Callable[[Installation], Iterator[Diagnosis]]

#: ``configuration`` is the first: it sees which options nothing reads, and other checks read some.
CHECKS: Mapping[str, tuple[Check, str]] = {
    "configuration": (configuration.check, "what the server would refuse or ignore"),
    "database": (database.check, "the connection, the revision of the tables, and the clock"),
    "stores": (stores.check, "write, read and delete an object in each store"),
    "keystone": (keystone.check, "this service's account in Keystone, and memcached"),
    "broker": (broker.check, "the brokers of notifications and of jobs"),
    "permissions": (permissions.check, "who can read secrets and write to directories"),
    "room": (room.check, "free space and inodes of the stores and the state directory"),
    "data": (data.check, "records whose data is missing, and data without a record"),
    "digests": (digests.check, "with --verify: read image data and compare it with the records"),
}


def run(names: Sequence[str], installation: Installation) -> Iterator[Diagnosis]:
    """The findings of these checks. A check that cannot go on does not stop the others."""
    for name in names:
        try:
            yield from CHECKS[name][0](installation)
        except (BadConfig, errors.Error, OSError) as problem:
            yield Diagnosis(
                check=name,
                severity=Severity.WARNING,
                message=f"Not checked to the end: {problem}.",
                advice="Correct what the other checks report, and repeat this one.",
            )
        except Exception as error:
            # Without its text, which may contain a secret.
            sys.stderr.write("".join(traceback.format_tb(error.__traceback__)))
            yield Diagnosis(
                check=name,
                severity=Severity.ERROR,
                message=f"The check itself failed: {type(error).__name__}.",
                advice="This is a defect of imsgate: report it with the lines above.",
            )
