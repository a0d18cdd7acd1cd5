"""Identifies texts that are stored by mistake instead of an image.

Mirrors answer with an error page instead of the file, a path names the checksums or the signature
instead of the image, a checkout without Git LFS has pointers instead of files. Only a text without
control characters is examined, so a disk is never taken for one. The text may be in UTF-16, as
PowerShell and Windows write it.
"""

import json
import re

_CONTROL_CHARACTERS = bytes(code for code in range(32) if code not in b"\t\n\f\r") + b"\x7f"
_ENCODINGS = (
    (re.compile(rb"\xef\xbb\xbf"), "utf-8"),
    (re.compile(rb"\xff\xfe\0\0"), "utf-32-le"),
    (re.compile(rb"\0\0\xfe\xff"), "utf-32-be"),
    (re.compile(rb"\xff\xfe|(?:[\t-\x7e]\0){8}"), "utf-16-le"),
    (re.compile(rb"\xfe\xff|(?:\0[\t-\x7e]){8}"), "utf-16-be"),
)
"""How a text begins, with or without a byte order mark. UTF-32 begins like UTF-16."""
_BOM = b"\xef\xbb\xbf"

_GIT_LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v\d")
_SCRIPT = re.compile(rb"#![ \t]*/")
_PEM = re.compile(rb"\s*-----BEGIN (?!PGP)[A-Z0-9][A-Z0-9 .]{1,40}-----")
_PGP = re.compile(rb"\s*-----BEGIN PGP [A-Z ]{1,40}-----")
_JIGDO = re.compile(rb"\s*(?>#[^\n]*\n\s*)*+\[Jigdo\]\s")
_REGISTRY = re.compile(rb"(?:Windows Registry Editor Version \d|REGEDIT4\s)")
_HTML = re.compile(
    # Possessive, because comments could be divided among repetitions in too many ways.
    rb"\s*(?:(?><!--.*?-->|<\?xml[^>]*>)\s*)*+<(?:!doctype\s+html|html|head|body|title|meta|script"
    rb"|style|link|h[1-6]|center|div|table|pre|p|a|br|hr|b|font|iframe)\b",
    re.I | re.S,
)
_XML = re.compile(rb"\s*<(?:\?xml\b|!--|!DOCTYPE\b|[A-Za-z_][\w.:-]*(?:\s|/?>))")
_JSON = re.compile(rb"\s*(?:\{\s*(?:\"|\})|\[\s*(?:[\"{\[\]]|-?\d|true\b|false\b|null\b))")
_YAML = re.compile(rb"(?:%YAML[ \t]+\d|---[ \t]*(?:#.*)?\r?\n\s*[\w\"'{\[#-]|#cloud-config\s)")
_YAML_KEY = re.compile(rb"[A-Za-z_][\w.-]*:(?: .*)?\r?")
_YAML_LINE = re.compile(rb"\s*|\s*#.*|\s+\S.*|- .*|" + _YAML_KEY.pattern)
_MIN_YAML_KEYS = 2

_DIGEST = rb"(?:%s)" % b"|".join(b"[0-9a-fA-F]{%d}" % n for n in (128, 96, 64, 56, 40, 32))
_CHECKSUM = re.compile(
    rb"\\?" + _DIGEST + rb"[ \t]+[ *]?\S.*"  # sha256sum
    rb"|[A-Za-z][\w/-]{1,20} ?\(.+\) ?= ?[0-9a-fA-F]{32,2048}\s*"  # BSD, openssl, OVF
    rb"|(?:MD|SHA)[-\w]{1,9}[ \t]+" + _DIGEST + rb"(?:[ \t]+\S.*|\s*)"  # PowerShell
)
_DIGEST_ALONE = re.compile(rb"(?:[0-9a-fA-F]{64}(?:[0-9a-fA-F]{32}){0,2}\r?\n)+")
"""Shorter ones, or one without a line end, may be anything."""
_BESIDE_CHECKSUMS = re.compile(
    rb"\s*|#.*|-----BEGIN PGP SIGNED MESSAGE-----\s*|Hash: .*|Algorithm[ \t]+Hash\b.*|[- \t]+\s*"
)
_SIGNATURE = re.compile(rb"^-----BEGIN [A-Z ]+-----", re.M)
"""Begins the signature of checksums, or the certificate of an OVF."""
_SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"


def identify(head: bytes, *, is_whole: bool) -> str | None:
    """The canonical name of the text that begins with ``head``; None if it is none of them.

    ``is_whole`` tells whether ``head`` is the whole file.
    """
    text = _in_utf_8(head).removeprefix(_BOM)
    if text.translate(None, _CONTROL_CHARACTERS) != text:
        return None
    for pattern, name in (
        (_GIT_LFS, "git-lfs"),
        (_SCRIPT, "script"),
        (_HTML, "html"),
        (_XML, "xml"),
        (_REGISTRY, "registry"),
        (_JIGDO, "jigdo"),
        (_PEM, "pem"),
    ):
        if pattern.match(text):
            return name
    if _JSON.match(text) and (not is_whole or _is_json(text)):
        return "json"
    if _has_checksums(text, is_whole=is_whole):
        return "checksums"
    if _PGP.match(text):
        return "pgp"
    return "yaml" if _is_yaml(text, is_whole=is_whole) else None


def _in_utf_8(head: bytes) -> bytes:
    """``head``, in UTF-8 if it is a text in another Unicode encoding."""
    for pattern, encoding in _ENCODINGS:
        if pattern.match(head):
            return head.decode(encoding, "replace").removeprefix("\ufeff").encode()
    return head


def _is_json(text: bytes) -> bool:
    """Whether the text is a JSON value, or several: one a line, or one after the other."""
    decoder = json.JSONDecoder()
    try:
        rest = text.decode().strip()
        while rest:
            _, end = decoder.raw_decode(rest)
            rest = rest[end:].lstrip()
    except (ValueError, RecursionError):
        return False
    return True


def _is_yaml(text: bytes, *, is_whole: bool) -> bool:
    """Whether the text is marked as YAML, or every line could be one of it and some have keys."""
    if _YAML.match(text):
        return True
    lines = _complete_lines(text, is_whole=is_whole)
    keys = sum(1 for line in lines if _YAML_KEY.fullmatch(line))
    return keys >= _MIN_YAML_KEYS and all(map(_YAML_LINE.fullmatch, lines))


def _has_checksums(text: bytes, *, is_whole: bool) -> bool:
    """Whether every complete line is a checksum or may stand beside one."""
    if is_whole and _DIGEST_ALONE.fullmatch(text):
        return True
    signature = _SIGNATURE.search(text, len(_SIGNED) if text.startswith(_SIGNED) else 0)
    if signature:
        text, is_whole = text[: signature.start()], True
    lines = [
        line
        for line in _complete_lines(text, is_whole=is_whole)
        if not _BESIDE_CHECKSUMS.fullmatch(line)
    ]
    return bool(lines) and all(map(_CHECKSUM.fullmatch, lines))


def _complete_lines(text: bytes, *, is_whole: bool) -> list[bytes]:
    lines = text.split(b"\n")
    return lines if is_whole else lines[:-1]
