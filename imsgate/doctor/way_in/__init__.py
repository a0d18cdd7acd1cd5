"""The way in: what proxies do to requests between the public URL and imsgate.

Each probe sends what clients send, and knows what imsgate does with it. It concludes from the
answers only, so it works from any host and through any number of proxies.
"""

from collections.abc import Collection, Iterator

from imsgate.client.credentials import Credentials
from imsgate.client.failures import Cut, NotAllowed, TransferInterrupted
from imsgate.client.retries import Retries
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.way_in import answers, bodies
from imsgate.doctor.way_in.connection import Lost
from imsgate.doctor.way_in.problem import Probe, Problem
from imsgate.doctor.way_in.site import Foreign, RefusedByImsgate, Silence, Site

#: Seconds after which an answer that does not come counts as missing.
PATIENCE = 15.0
#: Seconds of the pause in an upload: less than [pace] idle_timeout, after which imsgate itself
#: ends it, and than the defaults of proxies, which are 60 seconds and more.
QUIET = 50.0

_REACHABLE = Probe("reachable", "imsgate answers at the public URL", answers.reachable)
_RATE = "rate"

#: In the order in which they run: the pause comes last, because it takes the longest.
PROBES = (
    Probe("links", "links lead to the public URL", answers.links),
    Probe("forged", "no client can forge its address or links", answers.forged),
    Probe("headers", "the headers of the API pass", answers.headers),
    Probe("paths", "paths arrive as they are sent", answers.paths),
    Probe("caching", "a changed record shows at once", answers.caching),
    Probe("ranges", "parts of images and conditional requests work", answers.ranges),
    Probe("compression", "image data arrives as it is stored", answers.compression),
    Probe("coded-uploads", "compressed uploads work", answers.coded_uploads),
    Probe("chunked", "chunked uploads work", bodies.chunked),
    Probe("expect", "Expect: 100-continue is answered", bodies.expect),
    Probe("interim", "interim responses do no harm", bodies.interim),
    Probe("body-limit", "the largest upload is not refused on the way", bodies.body_limit),
    Probe("buffering", "an unsafe image is refused in its first bytes", bodies.buffering),
    Probe("refusals", "refusals reach clients that are still sending", bodies.refusals),
    Probe("kept-connection", "a connection that is kept works", bodies.kept_connection),
    Probe(_RATE, "many small requests pass", answers.rate),
    Probe("quiet", "an upload survives a pause", bodies.quiet),
)

#: What ends one probe, and not the others.
_FAILURES = (Foreign, Lost, Silence, RefusedByImsgate, OSError, ValueError, KeyError)
#: Statuses with which proxies refuse a client that sends too many requests.
_TOO_MANY = (429, 503)
_BY_HAND = "delete them with `openstack image delete`"


def checks(
    credentials: Credentials,
    *,
    patience: float = PATIENCE,
    held: float = PATIENCE,
    quiet: float = QUIET,
    names: Collection[str] = (),
) -> Iterator[Diagnosis]:
    """Probe the endpoint of the credentials; yield the findings of each probe as it ends.

    ``patience``, ``held`` and ``quiet`` are those of ``Site``; with 0 for ``quiet`` there is no
    pause. ``names`` selects probes. The image records of the probes are removed, also if the caller
    stops early.
    """
    try:
        site = Site(credentials, patience=patience, held=held, quiet=quiet)
    except (ValueError, OSError) as error:
        yield _finding(_REACHABLE.name, Problem(f"the public URL cannot be used: {error}"))
        return
    try:
        yield from _probe_all(site, names)
    finally:
        remaining = _swept(site) if site.has_created else None
    if remaining:
        yield _finding("cleanup", remaining)


def _probe_all(site: Site, names: Collection[str]) -> Iterator[Diagnosis]:
    for probe in (_REACHABLE, *PROBES):
        if names and probe.name not in names and probe is not _REACHABLE:
            continue
        findings = list(_run(probe, site))
        yield from findings
        if any(_ends_all(finding, probe) for finding in findings):
            return


def _ends_all(finding: Diagnosis, probe: Probe) -> bool:
    """Whether the other probes would only repeat this finding."""
    if probe is _REACHABLE:
        return finding.severity is not Severity.OK
    return finding.check == f"way-in.{_RATE}" and probe.name != _RATE


def _run(probe: Probe, site: Site) -> Iterator[Diagnosis]:
    found = False
    try:
        for problem in probe.run(site):
            found = True
            yield _finding(probe.name, problem)
    except Foreign as error:
        found = True
        too_many = error.answer.status in _TOO_MANY and probe is not _REACHABLE
        yield (
            _finding(_RATE, _limited(error)) if too_many else _finding(probe.name, _foreign(error))
        )
    except (RefusedByImsgate, NotAllowed, Cut) as error:
        found = True
        yield _finding(probe.name, Problem(str(error), severity=Severity.SKIPPED))
    except _FAILURES as error:
        found = True
        yield _finding(probe.name, _failed(error))
    if not found:
        yield _finding(probe.name, Problem(probe.passed, severity=Severity.OK))


def _finding(name: str, problem: Problem) -> Diagnosis:
    return Diagnosis(
        check=f"way-in.{name}",
        severity=problem.severity,
        message=_sentence(problem.message),
        advice=_sentence(problem.advice),
    )


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a name, and a full stop."""
    if not text:
        return ""
    is_name = text.startswith(("imsgate", "nginx"))
    return f"{text if is_name else text[0].upper() + text[1:]}."


def _limited(error: Foreign) -> Problem:
    return Problem(
        f"a proxy limits the number of requests or connections: {error}",
        "nginx: limit_req and limit_conn; HAProxy: deny rules on sc_http_req_rate, and maxconn; "
        "Apache: mod_qos, mod_evasive",
    )


def _foreign(error: Foreign) -> Problem:
    return Problem(
        f"a proxy answers by itself: {error}",
        "let the methods GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS pass, and look at the log "
        "of the proxy",
    )


def _failed(error: Exception) -> Problem:
    return Problem(f"the request failed: {error}", "look at the log of the proxy")


def _swept(site: Site) -> Problem | None:
    """Remove what the probes left. Returns what could not be removed."""
    retries = Retries(site.patience)
    while True:
        try:
            remaining = site.sweep()
            break
        except (*_FAILURES, NotAllowed, Cut) as error:
            why = str(error)
        try:
            retries.wait(why)
        except TransferInterrupted:
            return Problem(f"images with the name {site.name} may remain: {why}", _BY_HAND)
    return Problem(f"images remain: {', '.join(remaining)}", _BY_HAND) if remaining else None
