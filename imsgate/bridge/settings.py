"""The options of ``[bridge]``."""

from oslo_config import cfg

from imsgate.settings import Settings

GROUP = "bridge"
OPTS = (
    cfg.StrOpt(
        "projects_file",
        help="File with an access key of the cloud for each project: one JSON object per line with "
        "project, access_key and secret_key. Project ids are those of the cloud. Only the owner of "
        "the file may have access to it. A changed file is read again during the next request. "
        "Without it, [forward] access_key is used for all projects.",
    ),
    cfg.StrOpt(
        "project_id",
        help="The project of the cloud that [forward] access_key is for. Requests name it in "
        "X-Project-Id and, where IMS has a project in the path, in the path. It cannot be combined "
        "with projects_file.",
    ),
    cfg.FloatOpt(
        "poll_interval",
        default=10,
        min=0,
        max=3600,
        help="Seconds between two requests that ask IMS for the progress of a registration. 0, "
        "which is for tests, means no pause.",
    ),
    cfg.FloatOpt(
        "registration_timeout",
        default=2 * 3600,
        min=1,
        max=30 * 24 * 3600,
        help="Seconds after which a registration fails that IMS has neither completed nor refused, "
        "because it does not answer, refuses the access key, or never ends its job.",
    ),
)


class BridgeSettings(Settings, group=GROUP, opts=OPTS):
    projects_file: str | None
    project_id: str | None
    poll_interval: float
    registration_timeout: float
