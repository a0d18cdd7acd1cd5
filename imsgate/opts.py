"""Every option there is, for ``oslo-config-generator``; nothing imports this."""

from collections.abc import Sequence

from oslo_config import cfg

from imsgate import config, profiles
from imsgate.api import images, imports, locations
from imsgate.buckets import base
from imsgate.filters import (
    aksk,
    cors,
    faults,
    headers,
    identity,
    pace,
    proxy,
    sizelimit,
    sniff,
    tokens,
)
from imsgate.jobs import engine
from imsgate.quotas import quota
from imsgate.registry import sql
from imsgate.services import REGISTRY_OPTS
from imsgate.signatures import verify
from imsgate.sources import decompress, uris, web
from imsgate.stores import loader
from imsgate.transfer import upload

_FILTERS = (
    faults.Faults,
    cors.Cors,
    pace.Pace,
    tokens.Tokens,
    aksk.Aksk,
    identity.IdentityFilter,
    headers.Headers,
    sizelimit.SizeLimit,
    sniff.Sniff,
)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """Sections and their options, in the order of the sample."""
    return [
        ("DEFAULT", config.OPTS),
        ("DEFAULT", imports.OPTS),
        ("DEFAULT", locations.DEFAULT_OPTS),
        (locations.GROUP, locations.OPTS),
        (config.PASTE_GROUP, config.PASTE_OPTS),
        *((kind.NAME, kind.OPTS) for kind in _FILTERS if kind.OPTS),
        (proxy.GROUP, proxy.OPTS),
        (profiles.GROUP, profiles.OPTS),
        (images.GROUP, images.OPTS),
        (images.FORMAT_GROUP, images.FORMAT_OPTS),
        (upload.GROUP, upload.OPTS),
        ("DEFAULT", quota.KEYSTONE_OPTS),
        (quota.GROUP, quota.OPTS),
        (engine.GROUP, engine.OPTS),
        (uris.GROUP, uris.OPTS),
        (web.GROUP, web.OPTS),
        (decompress.GROUP, decompress.OPTS),
        (verify.GROUP, verify.OPTS),
        ("registry", REGISTRY_OPTS),
        ("database", sql.SqlRegistry.OPTS),
        *base.list_opts(),
        *loader.list_opts(),
    ]
