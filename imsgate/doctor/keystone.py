"""Keystone: whether it accepts this service's account, the account's roles, and memcached."""

from collections.abc import Iterator

from imsgate import errors
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation

#: The filter that validates tokens, and the section of its options.
_FILTER = "authtoken"
_GROUP = "keystone_authtoken"

#: By Keystone's default policy, one of them may validate the tokens of others.
_VALIDATING_ROLES = frozenset({"admin", "service"})


def check(installation: Installation) -> Iterator[Diagnosis]:
    """The account, its roles, and each memcached server."""
    overrides = installation.filter_options(_FILTER)
    if overrides is None:
        message = "The pipeline does not have the filter authtoken."
        yield Diagnosis(check="keystone", severity=Severity.SKIPPED, message=message)
        return
    # It needs the extra imsgate[keystone].
    from imsgate.auth import keystone  # noqa: PLC0415

    try:
        account = keystone.service_account(installation.conf.native, overrides)
    except errors.Unauthenticated as error:
        advice = (
            f"Correct the user, password and project in [{_GROUP}], or create the user in Keystone."
        )
        yield _error("account", f"Keystone refuses the account: {error.__cause__}.", advice)
        return
    except errors.Unavailable as error:
        advice = (
            f"Start Keystone, or correct [{_GROUP}] auth_url and, for https, cafile. Until then "
            "every request is answered with 503."
        )
        yield _error("connection", f"Keystone does not answer: {error.__cause__}.", advice)
        return
    yield _roles(account.roles)
    for server in account.memcached_servers:
        if problem := keystone.problem_of_memcached(server):
            yield Diagnosis(
                check="keystone.memcached",
                severity=Severity.WARNING,
                message=f"{problem}.",
                advice=f"Start memcached, or correct [{_GROUP}] memcached_servers.",
            )


def _roles(roles: frozenset[str]) -> Diagnosis:
    shown = ", ".join(sorted(roles)) or "no role"
    if roles & _VALIDATING_ROLES:
        message = f"Keystone accepts the account, which has {shown}."
        return Diagnosis(check="keystone.account", severity=Severity.OK, message=message)
    return Diagnosis(
        check="keystone.account",
        severity=Severity.WARNING,
        message=f"The account has {shown}, and Keystone's default policy lets it validate no "
        "user's token.",
        advice="Give it the role service in its project: 'openstack role add --user USER --project "
        "PROJECT service'.",
    )


def _error(name: str, message: str, advice: str) -> Diagnosis:
    return Diagnosis(
        check=f"keystone.{name}", severity=Severity.ERROR, message=message, advice=advice
    )
