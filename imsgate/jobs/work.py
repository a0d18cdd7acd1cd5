"""What a kind of job has to implement."""

import abc

from imsgate import errors
from imsgate.jobs.context import Context
from imsgate.model import Job


class Work(abc.ABC):
    """How jobs of one kind are done. One object does many jobs, at the same time."""

    @abc.abstractmethod
    def run(self, job: Job, context: Context) -> None:
        """Do the job while ``context.check`` permits it.

        The job succeeds when this returns, if ``context.succeed`` was not called before, and
        fails with any error that this raises. After Interrupted, another worker continues it.
        """

    def is_transient(self, error: errors.Error) -> bool:
        """Whether the job may succeed later although ``run`` raised ``error`` now.

        It is then tried again for a while. What this attempt has written must not obstruct the next
        one.
        """
        return isinstance(error, errors.SourceUnavailable)

    def undo(self, job: Job, context: Context, error: errors.Error) -> None:
        """Remove everything of a job that failed with ``error``, and end it by ``context.fail``.

        Raises Interrupted if that is impossible now; another worker then begins the job again.
        """
        context.fail(error)
