"""Every option there is, for ``oslo-config-generator``; nothing imports this."""

from collections.abc import Sequence

from oslo_config import cfg

from imsgate import app, config, upload
from imsgate.api import images
from imsgate.filters import faults, headers, identity, sizelimit, sniff, tokens
from imsgate.registry import sql
from imsgate.stores import loader

_FILTERS = (
    faults.Faults,
    tokens.Tokens,
    identity.IdentityFilter,
    headers.Headers,
    sizelimit.SizeLimit,
    sniff.Sniff,
)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """Sections and their options, in the order of the sample."""
    return [
        ("DEFAULT", config.OPTS),
        (config.PASTE_GROUP, config.PASTE_OPTS),
        *((kind.NAME, kind.OPTS) for kind in _FILTERS if kind.OPTS),
        ("api", images.OPTS),
        (images.FORMAT_GROUP, images.FORMAT_OPTS),
        (upload.GROUP, upload.OPTS),
        ("registry", app.REGISTRY_OPTS),
        ("database", sql.SqlRegistry.OPTS),
        *loader.list_opts(),
    ]
