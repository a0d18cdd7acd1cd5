"""All options, for ``oslo-config-generator``, which finds this module by its entry point."""

from collections.abc import Sequence

from oslo_config import cfg

from imsgate import config, profiles
from imsgate.api.imports import ImportSettings
from imsgate.api.injection import InjectionSettings
from imsgate.api.locations import LocationSettings, SecureHashSettings
from imsgate.bridge.settings import BridgeSettings
from imsgate.buckets import base
from imsgate.conversion.settings import ConversionSettings, PluginSettings
from imsgate.filters import (
    aksk,
    chunked,
    cors,
    encoding,
    faults,
    headers,
    identity,
    metrics,
    pace,
    proxy,
    sizelimit,
    sniff,
    tokens,
    tracing,
)
from imsgate.forward.settings import ForwardSettings
from imsgate.jobs import settings as jobs
from imsgate.maintenance import read_only
from imsgate.notifications.settings import EventSettings, OutboxSettings, WebhookSettings
from imsgate.page.page import PageSettings
from imsgate.quotas import quota
from imsgate.records.protections import ProtectionSettings
from imsgate.records.settings import ApiSettings, FormatSettings, GlanceDownloadSettings
from imsgate.registry import sql
from imsgate.registry.loader import RegistrySettings
from imsgate.settings import Settings
from imsgate.signatures import verify
from imsgate.signatures.encryption_keys import EncryptionSettings
from imsgate.sources import decompress, uris, web
from imsgate.stores import loader
from imsgate.transfer import settings as transfer_settings
from imsgate.verification.settings import VerificationSettings

#: The filters that have options.
FILTERS = (
    faults.Faults,
    metrics.MetricsFilter,
    tracing.Tracing,
    cors.Cors,
    pace.Pace,
    tokens.Tokens,
    aksk.Aksk,
    identity.IdentityFilter,
    headers.Headers,
    encoding.Encoding,
    sizelimit.SizeLimit,
    sniff.Sniff,
    chunked.Chunked,
)


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """Sections and their options, in the order of the sample configuration."""
    return [
        ("DEFAULT", config.OPTS),
        *map(_group, (ImportSettings, SecureHashSettings, LocationSettings)),
        (config.PASTE_GROUP, config.PASTE_OPTS),
        *((kind.NAME, kind.OPTS) for kind in FILTERS if kind.OPTS),
        (proxy.GROUP, proxy.OPTS),
        _group(PageSettings),
        _group(ForwardSettings),
        _group(BridgeSettings),
        (profiles.GROUP, profiles.OPTS),
        *map(_group, (ApiSettings, ProtectionSettings, FormatSettings)),
        (transfer_settings.GROUP, transfer_settings.OPTS),
        _group(read_only.MaintenanceSettings),
        ("DEFAULT", quota.KEYSTONE_OPTS),
        (quota.GROUP, quota.OPTS),
        (jobs.GROUP, jobs.OPTS),
        _group(VerificationSettings),
        *map(_group, (EventSettings, OutboxSettings, WebhookSettings)),
        (uris.GROUP, uris.OPTS),
        (web.GROUP, web.OPTS),
        _group(GlanceDownloadSettings),
        (decompress.GROUP, decompress.OPTS),
        *map(_group, (PluginSettings, ConversionSettings, InjectionSettings)),
        (verify.GROUP, verify.OPTS),
        _group(EncryptionSettings),
        _group(RegistrySettings),
        ("database", sql.SqlRegistry.OPTS),
        *base.list_opts(),
        *loader.list_opts(),
    ]


def _group(settings: type[Settings]) -> tuple[str, Sequence[cfg.Opt]]:
    return settings.GROUP, settings.OPTS
