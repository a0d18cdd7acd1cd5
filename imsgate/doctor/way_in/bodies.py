"""Probes of what a proxy does to request bodies and to the connections that carry them."""

import contextlib
import json
import struct
import uuid
from collections.abc import Iterator

from imsgate.doctor.diagnosis import Severity
from imsgate.doctor.way_in.connection import Lost, ProbeAnswer, ProbeConnection
from imsgate.doctor.way_in.problem import Problem
from imsgate.doctor.way_in.site import OCTETS, Foreign, RefusedByImsgate, Silence, Site

#: The first bytes of a qcow2 image with a backing file, which every configuration refuses for an
#: image that is declared raw.
HOSTILE = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 512, 11, 16, 1 << 30) + bytes(480) + b"/etc/passwd"
#: Bytes that are sent of a body that is held back: more than imsgate's first read (64 KiB).
_SENT = 128 << 10
_HELD = 1 << 20
#: The size that is announced if imsgate does not say how large an image may be.
_LARGE = 1 << 40
_CHUNKS = (1, 70_000, 3, 40_000)
_BLIND, _ROUNDS = 4 << 20, 3
_SHORT = 200_000


def buffering(site: Site) -> Iterator[Problem]:
    """Does a refusal come while the body is held back?"""
    for framing, length in (("a Content-Length", _HELD), ("chunks", None)):
        with site.image() as image_id, site.open() as exchange:
            _hold_back(site, exchange, image_id, length)
            answer = exchange.answer(site.held)
            if answer is None:
                yield why_unanswered(site, image_id, framing)
            elif not answer.is_ours and not (length is None and _breaks_chunks(answer)):
                raise Foreign(answer, "PUT …/file")


def _hold_back(site: Site, exchange: ProbeConnection, image_id: str, length: int | None) -> None:
    """Begin an upload that imsgate refuses. It can be resumed, so that imsgate remembers why it
    ended."""
    fields = {**OCTETS, "Upload-Complete": "?0"}
    site.begin(exchange, "PUT", f"/v2/images/{image_id}/file", fields, length=length)
    exchange.send(HOSTILE + bytes(_SENT - len(HOSTILE)))


def why_unanswered(site: Site, image_id: str, framing: str) -> Problem:
    """What became of an upload that got no answer while its body was held back."""
    if _has_ended(site, image_id):
        return Problem(
            f"imsgate refuses an image in its first bytes, but of a body with {framing} a proxy "
            "passes the refusal on only after the last byte",
            "Apache always does so: use nginx or HAProxy for uploads",
            Severity.WARNING,
        )
    if site.record(image_id)["status"] == "saving":
        return Problem(
            "the first bytes of an upload arrive, but imsgate does not refuse an unsafe image",
            "put the filter sniff into the pipeline",
            Severity.SKIPPED,
        )
    version = "proxy_http_version 1.1 and " if framing == "chunks" else ""
    return Problem(
        f"imsgate sees nothing of a body with {framing} before its last byte was sent",
        f"nginx: {version}proxy_request_buffering off; HAProxy: no option http-buffer-request; "
        "Apache: no SetEnv proxy-sendcl",
    )


def _has_ended(site: Site, image_id: str) -> bool:
    progress = site.call("GET", f"/v2/images/{image_id}/upload")
    return progress.status == 200 and json.loads(progress.body)["state"] == "ended"


def body_limit(site: Site) -> Iterator[Problem]:
    """Does the head of the largest upload that imsgate accepts reach it?

    The upload is for an image that does not exist, so imsgate refuses it without asking a store.
    """
    path = f"/v2/images/{uuid.uuid4()}"
    size = _largest_upload(site, f"{path}/upload")
    with site.open() as exchange:
        site.begin(exchange, "PUT", f"{path}/file", OCTETS, length=size)
        exchange.send(bytes(_SENT))
        answer = exchange.answer(site.held)
    if answer is not None and not answer.is_ours:
        yield Problem(
            f"an upload of {size} bytes is refused with {answer.status} by a proxy, though imsgate "
            "accepts that many",
            "nginx: client_max_body_size 0; HAProxy: remove rules on req.body_size and "
            "Content-Length",
        )


def _largest_upload(site: Site, path: str) -> int:
    with contextlib.suppress(Foreign, Silence, Lost):
        answer = site.call("OPTIONS", path)
        for item in answer.headers.get("upload-limit", "").split(","):
            name, _, text = item.strip().partition("=")
            if name == "max-size" and text.isascii() and text.isdigit():
                return int(text)
    return _LARGE


def chunked(site: Site) -> Iterator[Problem]:
    """Does a chunked body arrive as it was sent?"""
    advice = (
        "nginx: proxy_http_version 1.1 and no chunked_transfer_encoding off; Apache: SetEnv "
        "proxy-sendchunked; HAProxy: remove rules on Transfer-Encoding"
    )
    with site.image() as image_id, site.open() as exchange:
        site.begin(exchange, "PUT", f"/v2/images/{image_id}/file", OCTETS)
        for size in _CHUNKS:
            exchange.send(bytes(size))
        exchange.finish()
        answer = exchange.answer(site.patience)
        if answer is None:
            yield Problem("a chunked upload is not answered", advice)
        elif answer.status != 204:
            who = "imsgate" if answer.is_ours else "a proxy"
            reason = f" {answer.reason}" if answer.reason else ""
            yield Problem(f"a chunked upload gets {answer.status}{reason} from {who}", advice)
        elif (size := site.record(image_id)["size"]) != sum(_CHUNKS):
            yield Problem(
                f"a chunked upload of {sum(_CHUNKS)} bytes arrives as {size} bytes", advice
            )


def _breaks_chunks(answer: ProbeAnswer) -> bool:
    """Then ``chunked`` reports it."""
    return answer.status in (400, 411, 501)


def expect(site: Site) -> Iterator[Problem]:
    """Does a client that waits for 100 Continue get it, and from whom?"""
    fields = {**OCTETS, "Expect": "100-continue"}
    with site.image() as image_id, site.open() as exchange:
        site.begin(exchange, "PUT", f"/v2/images/{image_id}/file", fields, length=512)
        answer = exchange.next(site.held)
        if answer is None:
            yield Problem(
                "nobody answers Expect: 100-continue, so curl waits a second and other clients "
                "wait until they give up",
                "let the header Expect pass; HAProxy: no http-request del-header Expect",
            )
            return
        if answer.status == 417 or (answer.status >= 200 and not answer.is_ours):
            yield Problem(
                f"Expect: 100-continue is answered with {answer.status} by a proxy",
                "let the header Expect pass",
            )
            return
        exchange.send(bytes(512))
        exchange.finish()
        final = answer if answer.status >= 200 else site.ours(exchange, "PUT …/file with Expect")
        if final.status != 204:
            raise RefusedByImsgate(final, "PUT …/file with Expect")
    if _answers_itself(site, fields):
        yield Problem(
            "a proxy sends 100 Continue by itself: this is harmless, but clients begin to send "
            "bodies that imsgate refuses by their headers",
            severity=Severity.OK,
        )


def _answers_itself(site: Site, fields: dict[str, str]) -> bool:
    """Whether a request that imsgate refuses by its headers gets 100 Continue."""
    with site.open() as exchange:
        site.begin(exchange, "PUT", f"/v2/images/{uuid.uuid4()}/file", fields, length=_HELD)
        answer = exchange.next(site.held)
        return answer is not None and answer.status == 100


def interim(site: Site) -> Iterator[Problem]:
    """Does the interim response 104, which imsgate sends if it is configured, do harm?"""
    fields = {**OCTETS, "Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8"}
    advice = "set [upload] interim_responses to false, or use a proxy that passes 104 on"
    with site.image() as image_id, site.open() as exchange:
        site.begin(exchange, "PUT", f"/v2/images/{image_id}/file", fields, length=512)
        exchange.send(bytes(512))
        exchange.finish()
        try:
            answer = exchange.answer(site.patience)
        except Lost:
            answer = None
            if 104 not in exchange.interim:
                raise
        if answer is None and 104 in exchange.interim:
            yield Problem("a proxy takes the interim response 104 for the final response", advice)
        elif answer is not None and not answer.is_ours:
            raise Foreign(answer, "PUT …/file with Upload-Complete")


def refusals(site: Site) -> Iterator[Problem]:
    """Do refusals reach a client that sends its whole body before it looks for a response?"""
    lost: list[str] = []
    with site.image() as image_id:
        for _ in range(_ROUNDS):
            lost += _lost(site, image_id, "401", b"", {"X-Auth-Token": "imsgate-doctor"})
            lost += _lost(site, image_id, "415", HOSTILE, {})
    if lost:
        yield Problem(
            f"{len(lost)} of {2 * _ROUNDS} refusals did not reach the client that was still "
            f"sending: {lost[0]}",
            "nginx: proxy_request_buffering off, and no lingering_close off; if it is 413, "
            "the proxy limits bodies (nginx: client_max_body_size 0)",
        )


def _lost(
    site: Site, image_id: str, wanted: str, first: bytes, fields: dict[str, str]
) -> Iterator[str]:
    path = f"/v2/images/{image_id}/file"
    with site.open() as exchange:
        site.begin(
            exchange, "PUT", path, {**OCTETS, **fields}, length=_BLIND, authorized=not fields
        )
        exchange.send(first + bytes(_BLIND - len(first)))
        exchange.finish()
        try:
            answer = exchange.answer(site.patience)
        except Lost as error:
            yield str(error)
            return
    if answer is None:
        yield f"nothing instead of {wanted}"
    elif not answer.is_ours:
        yield f"{answer.status} from a proxy instead of {wanted}"
    elif exchange.broken:
        yield f"the connection was reset after {answer.status}"


def kept_connection(site: Site) -> Iterator[Problem]:
    """Does a connection that the response to an early refusal keeps serve the next request?"""
    with site.open() as exchange:
        site.begin(exchange, "POST", "/v2/images", length=_SHORT, authorized=False)
        refusal = exchange.answer(site.held)
        if refusal is not None and refusal.headers.get("connection", "").lower() == "close":
            return
        exchange.send(bytes(_SHORT))
        exchange.finish()
        try:
            if refusal is None:
                site.ours(exchange, "POST /v2/images without a token")
            exchange.again()
            site.begin(exchange, "GET", "/v2/images?limit=1", length=0)
            exchange.finish()
            answer = exchange.answer(site.patience)
        except Lost:
            answer = None
    if answer is None:
        yield Problem(
            "after an early refusal, a proxy offers to keep the connection and then closes it, so "
            "the next request is lost",
            "nginx: keepalive_timeout 0",
        )


def quiet(site: Site) -> Iterator[Problem]:
    """Does an upload survive a pause of its client?"""
    if not site.quiet:
        yield Problem("no pause was wanted", severity=Severity.SKIPPED)
        return
    advice = (
        "let [pace] idle_timeout of imsgate decide; nginx: a longer client_body_timeout; HAProxy: "
        "longer timeout client and timeout server; Apache: RequestReadTimeout body=0"
    )
    with site.image() as image_id, site.open() as exchange:
        site.begin(exchange, "PUT", f"/v2/images/{image_id}/file", OCTETS, length=2 * _SENT)
        exchange.send(bytes(_SENT))
        try:
            answer = exchange.answer(site.quiet)
            if answer is None:
                exchange.send(bytes(_SENT))
                exchange.finish()
                answer = site.ours(exchange, "PUT …/file after a pause")
        except (Lost, Silence, Foreign) as error:
            message = f"an upload that pauses for {site.quiet:g} s is cut by a proxy: {error}"
            yield Problem(message, advice)
            return
        if answer.reason == "too_slow":
            message = f"imsgate itself ends an upload that pauses for {site.quiet:g} s"
            yield Problem(message, "raise [pace] idle_timeout, or use a shorter --quiet")
        elif not answer.is_ours or answer.status == 408:
            yield Problem(
                f"an upload that pauses for {site.quiet:g} s gets {answer.status} from a proxy",
                advice,
            )
        elif answer.status != 204:
            raise RefusedByImsgate(answer, "PUT …/file after a pause")
