"""The options of ``[forward]``."""

from oslo_config import cfg

from imsgate.http.request import IMAGE_REQUESTS
from imsgate.settings import Settings

GROUP = "forward"
OPTS = (
    cfg.URIOpt(
        "upstream",
        schemes=["http", "https"],
        help="The URL of the image service that requests are passed on to, without a version, "
        "such as https://glance.internal:9292. The application forward requires it.",
    ),
    cfg.ListOpt(
        "upstream_names",
        default=[],
        help="Further URLs by which the image service names itself in its links, such as its own "
        "public_endpoint. Links that begin with one of them, or with upstream, lead to this "
        "service in responses.",
    ),
    cfg.BoolOpt(
        "chunked",
        default=False,
        help="Whether the image service accepts chunked bodies. If false, an upload needs a "
        "Content-Length or x-openstack-image-size and is answered 411 without them. Enable it for "
        "Glance; under uWSGI, Glance needs http-chunked-input as well. python-glanceclient and "
        "openstackclient send chunked bodies.",
    ),
    cfg.StrOpt(
        "ca_file",
        help="PEM file of the certificate authorities trusted for an https upstream. Without it, "
        "those of the system are trusted.",
    ),
    cfg.StrOpt(
        "cert_file",
        help="PEM file of the certificate that this service presents to an https upstream. It may "
        "contain the key as well.",
    ),
    cfg.StrOpt("key_file", help="PEM file of the private key for cert_file."),
    cfg.StrOpt(
        "token_file",
        help="File with a token of the image service, which replaces the client's credentials. It "
        "is read for each request, so it can be replaced at any time. Only its owner and group may "
        "have access to it. Use it only behind an authentication filter: every "
        "request has the rights of this token. Without it, the client's own credentials are passed "
        "on.",
    ),
    cfg.StrOpt(
        "access_key",
        help="Access key with which this service signs requests to the image service anew "
        "(SDK-HMAC-SHA256), in place of the client's credentials. As with token_file, every "
        "request has the rights of this key. The data of images is not signed.",
    ),
    cfg.StrOpt("secret_key", secret=True, help="The secret of access_key."),
    cfg.StrOpt(
        "requests",
        default=IMAGE_REQUESTS,
        help="Regular expression for the requests whose body is a whole image, as in [sniff] "
        "requests. The bodies of all other requests must be JSON of at most 1 MiB, so that no "
        "image gets past the filters.",
    ),
    cfg.IntOpt(
        "requests_at_once",
        mutable=True,
        default=96,
        min=1,
        help="The most requests that one process passes on at the same time, which is also the "
        "most connections to the image service. Others get a 503 response. Set it lower than "
        "`imsgate serve --threads`, so that threads remain for everything that this service "
        "answers by itself.",
    ),
    cfg.FloatOpt(
        "keep_alive",
        mutable=True,
        default=15,
        min=0,
        help="Seconds for which an unused connection is kept. Set it lower than the same timeout "
        "of the image service. 0 closes each connection after its response.",
    ),
    cfg.FloatOpt(
        "connect_timeout",
        mutable=True,
        default=10,
        min=0.01,
        help="Seconds that establishing a connection may take, and TLS on it as long again.",
    ),
    cfg.FloatOpt(
        "continue_timeout",
        mutable=True,
        default=1,
        min=0,
        help="Seconds to wait for 100 Continue before an image is sent anyway. 0 sends it at once, "
        "without the header Expect.",
    ),
    cfg.FloatOpt(
        "idle_timeout",
        mutable=True,
        default=60,
        min=0.01,
        help="Seconds after which a request ends if the image service receives nothing more of "
        "the body, or sends nothing more of its response.",
    ),
    cfg.FloatOpt(
        "response_timeout",
        mutable=True,
        default=60,
        min=0.01,
        help="Seconds that the image service may take to begin its response to a request.",
    ),
    cfg.FloatOpt(
        "commit_timeout",
        mutable=True,
        default=600,
        min=0.01,
        help="The same after the last byte of an image, which the image service may have to store "
        "somewhere else first.",
    ),
    cfg.BoolOpt(
        "check_lost_responses",
        default=True,
        help="If the response to a complete upload is lost, look at the image's record. If the "
        "image is active and has the same size, download it and compare it with what was sent. "
        "The client gets 204 if both are the same. For that, each upload takes about 0.2 seconds "
        "of CPU time more per GiB.",
    ),
    cfg.StrOpt(
        "spool_store",
        help="Id of the store that keeps a resumable upload until it is complete. It is then sent "
        "to the image service in one request. This needs a database, as the image service itself "
        "does. If empty, resumable uploads are refused, and this service stores nothing.",
    ),
    cfg.IntOpt(
        "spool_limit",
        mutable=True,
        default=1 << 20,
        min=1,
        help="The most space that all resumable uploads together may occupy in spool_store, in "
        "MiB. An upload counts with its announced length.",
    ),
    cfg.StrOpt(
        "spool_seal_file",
        default="$state_path/spool-seal",
        help="File with the key that encrypts the credentials of users in the database until their "
        "uploads have been sent. It is created when it is missing. All hosts that share a "
        "database need the same file.",
    ),
)


class ForwardSettings(Settings, group=GROUP, opts=OPTS):
    upstream: str | None
    upstream_names: list[str]
    chunked: bool
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    token_file: str | None
    access_key: str | None
    secret_key: str | None
    requests: str
    requests_at_once: int
    keep_alive: float
    connect_timeout: float
    continue_timeout: float
    idle_timeout: float
    response_timeout: float
    commit_timeout: float
    check_lost_responses: bool
    spool_store: str | None
    spool_limit: int
    spool_seal_file: str
