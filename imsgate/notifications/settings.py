"""The options of notifications. Those of the message bus are oslo.messaging's own."""

from oslo_config import cfg

from imsgate.settings import Settings

#: Named as in Glance, so that a glance-api.conf can be used.
EVENT_OPTS = (
    cfg.StrOpt(
        "default_publisher_id",
        default="image.localhost",
        help="The publisher_id of all notifications. It says which service sent them.",
    ),
    cfg.ListOpt(
        "disabled_notifications",
        default=[],
        help="Event types that are not sent, such as image.send, or groups of them: image, "
        "image.member, task.",
    ),
)


class EventSettings(Settings, group="DEFAULT", opts=EVENT_OPTS):
    default_publisher_id: str
    disabled_notifications: list[str]


OUTBOX_OPTS = (
    cfg.FloatOpt(
        "poll",
        default=1,
        min=0.01,
        help="Seconds between two searches for notifications to send.",
    ),
    cfg.FloatOpt(
        "lease",
        default=60,
        min=1,
        max=1e9,  # added to the current time it must still be a number with fractions
        help="Seconds after which another process continues if the process that sends "
        "notifications has died.",
    ),
    cfg.FloatOpt(
        "keep",
        default=3 * 24 * 3600,
        min=1,
        max=1e9,
        help="Seconds for which sending a notification is tried again. After that it is dropped, "
        "which is logged as an error.",
    ),
)


class OutboxSettings(Settings, group="outbox", opts=OUTBOX_OPTS):
    """How notifications wait and are sent."""

    poll: float
    lease: float
    keep: float


WEBHOOK_OPTS = (
    cfg.ListOpt(
        "urls",
        default=[],
        help="The http or https URLs to which notifications are sent, separated by commas. They "
        "may be in any network: only operators set them. Empty means no webhooks.",
    ),
    cfg.ListOpt(
        "secret",
        default=[],
        secret=True,
        help="The key that signs webhooks, as the receivers know it: whsec_ and 24 to 64 bytes "
        "in Base64. Several keys, separated by commas, sign each webhook several times, so that "
        "a key can be replaced.",
    ),
    cfg.FloatOpt(
        "timeout",
        default=10,
        min=0.1,
        max=3600,
        help="Seconds that a receiver may take to accept a connection, and again to respond.",
    ),
    cfg.StrOpt(
        "ca_file",
        help="PEM file of the certificate authorities trusted for https. Without it, those of "
        "the system are trusted.",
    ),
)


class WebhookSettings(Settings, group="webhooks", opts=WEBHOOK_OPTS):
    """The options of ``[webhooks]``."""

    urls: list[str]
    secret: list[str]
    timeout: float
    ca_file: str | None
