"""Quotas and limits."""

from imsgate.errors.base import Error


class QuotaExceeded(Error):
    status, reason = 413, "quota_exceeded"
    code = "IMG.0015"
    message = "The quota on {resource} would be exceeded: {limit}"


class MemberQuotaExceeded(QuotaExceeded):
    code = "IMG.0088"


class TagQuotaExceeded(QuotaExceeded):
    code = "IMG.0116"


class OverLimit(QuotaExceeded):
    """A limit on what a project's images add up to. The message is oslo.limit's, as in Glance."""

    reason = "limit_exceeded"
    message = (
        "Project {project} is over a limit for [Resource {resource} is over limit of {limit} "
        "due to current usage {usage} and delta {delta}]"
    )
