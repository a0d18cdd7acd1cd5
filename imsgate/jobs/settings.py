"""The options of jobs."""

from oslo_config import cfg

from imsgate.settings import Settings

GROUP = "jobs"
OPTS = (
    cfg.StrOpt(
        "engine",
        default="local",
        help="The entry point in imsgate.engines that brings jobs to workers: local (threads of "
        "the serving processes, and `imsgate worker`), or celery (`imsgate worker`, notified by a "
        "message broker).",
    ),
    cfg.StrOpt(
        "broker_url",
        secret=True,
        help="URL of the broker of the engine celery, such as amqp://user:secret@host:5672/vhost "
        "(RabbitMQ) or redis://:secret@host:6379/0.",
    ),
    cfg.StrOpt(
        "queue",
        default="imsgate",
        help="The name of the queue of the engine celery.",
    ),
    cfg.FloatOpt(
        "resend",
        mutable=True,
        default=30,
        min=0.01,
        help="Seconds between two searches of the engine celery for jobs whose message was lost "
        "or whose worker died.",
    ),
    cfg.IntOpt(
        "threads",
        default=4,
        min=0,
        help="The number of jobs that each serving process runs at the same time with the engine "
        "local. With 0, only `imsgate worker` processes run jobs.",
    ),
    cfg.IntOpt(
        "project_threads",
        mutable=True,
        default=0,
        min=0,
        help="The most jobs of one project that a process runs at the same time. 0 means half of "
        "its job threads, rounded up.",
    ),
    cfg.IntOpt(
        "kind_threads",
        mutable=True,
        default=0,
        min=0,
        help="The most jobs of one kind, such as imports, that a process runs at the same time. "
        "0 means one less than its job threads, but at least 1.",
    ),
    cfg.FloatOpt(
        "lease",
        default=60,
        min=0.1,
        max=1e9,  # added to the current time it must still be a valid date; so must "keep"
        help="Seconds after which a job whose process died is taken over by another. A running "
        "job renews its lease at least three times in this period.",
    ),
    cfg.FloatOpt(
        "poll",
        mutable=True,
        default=2,
        min=0.01,
        help="Seconds between two searches for jobs that other processes started or left.",
    ),
    cfg.IntOpt(
        "attempts",
        mutable=True,
        default=5,
        min=1,
        help="After this many attempts that killed their process, a job fails.",
    ),
    cfg.FloatOpt(
        "source_retry_time",
        mutable=True,
        default=600,
        min=0,
        max=1e9,
        help="Seconds for which a job is tried again while its source (a web server or a bucket) "
        "cannot be reached or fails by itself. It is the sum of the pauses between the attempts, "
        "which grow from 2 to 60 seconds. With 0, the job fails at the first such failure.",
    ),
    cfg.IntOpt(
        "keep",
        mutable=True,
        default=7 * 24 * 3600,
        min=0,
        max=10**9,
        help="Seconds for which a job can be looked up after it has ended.",
    ),
    cfg.BoolOpt(
        "failure_message",
        default=True,
        help="Say in the property os_glance_failed_import_message of an image why its last import "
        "failed, for clients that only look at the image. Set it to false if clients must see "
        "Glance's properties only.",
    ),
)


class JobSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[jobs]``."""

    engine: str
    broker_url: str | None
    queue: str
    resend: float
    threads: int
    project_threads: int
    kind_threads: int
    lease: float
    poll: float
    attempts: int
    source_retry_time: float
    keep: int
    failure_message: bool
