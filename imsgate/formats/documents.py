"""Identifies texts that are stored by mistake instead of an image.

Mirrors answer with an error page instead of the file, a path names the checksums instead of the
image, a checkout without Git LFS has pointers instead of files. Only a text without control
characters is examined, so a disk is never taken for one.
"""

import json
import re

_CONTROL_CHARACTERS = bytes(code for code in range(32) if code not in b"\t\n\f\r") + b"\x7f"
_BOM = b"\xef\xbb\xbf"
_GIT_LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v\d")
_HTML = re.compile(
    # Possessive, because comments could be divided among repetitions in too many ways.
    rb"\s*(?:(?><!--.*?-->|<\?xml[^>]*>)\s*)*+<(?:!doctype\s+html|html|head|body|title|meta|script"
    rb"|style|link|h[1-6]|center|div|table|pre|p|a|br|hr|b|font|iframe)\b",
    re.I | re.S,
)
_XML = re.compile(rb"\s*<(?:\?xml\b|!--|!DOCTYPE\b|[A-Za-z_][\w.:-]*(?:\s|/?>))")
_JSON = re.compile(rb"\s*(?:\{\s*(?:\"|\})|\[\s*(?:[\"{\[\]]|-?\d|true\b|false\b|null\b))")
_DIGEST = rb"(?:%s)" % b"|".join(b"[0-9a-fA-F]{%d}" % n for n in (128, 96, 64, 56, 40, 32))
_CHECKSUM = re.compile(
    rb"\\?" + _DIGEST + rb"[ \t]+[ *]?\S.*"  # sha256sum
    rb"|[A-Za-z][\w/-]{1,20} ?\(.+\) ?= ?" + _DIGEST + rb"\s*"  # BSD, openssl
)
_DIGEST_ALONE = re.compile(rb"(?:[0-9a-fA-F]{64}(?:[0-9a-fA-F]{32}){0,2}\r?\n)+")
"""Shorter ones, or one without a line end, may be anything."""
_BESIDE_CHECKSUMS = re.compile(rb"\s*|#.*|-----BEGIN PGP SIGNED MESSAGE-----\s*|Hash: .*")


def identify(head: bytes, *, is_whole: bool) -> str | None:
    """The canonical name of the text that begins with ``head``; None if it is none of them.

    ``is_whole`` tells whether ``head`` is the whole file.
    """
    text = head.removeprefix(_BOM)
    if text.translate(None, _CONTROL_CHARACTERS) != text:
        return None
    if _GIT_LFS.match(text):
        return "git-lfs"
    if _HTML.match(text):
        return "html"
    if _XML.match(text):
        return "xml"
    if _JSON.match(text) and (not is_whole or _is_json(text)):
        return "json"
    return "checksums" if _has_checksums(text, is_whole=is_whole) else None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _has_checksums(text: bytes, *, is_whole: bool) -> bool:
    """Whether every complete line is a checksum or may stand beside one."""
    if is_whole and _DIGEST_ALONE.fullmatch(text):
        return True
    lines = text.split(b"\n")
    if not is_whole:
        lines.pop()
    lines = [line for line in lines if not _BESIDE_CHECKSUMS.fullmatch(line)]
    return bool(lines) and all(map(_CHECKSUM.fullmatch, lines))
