"""Recognizes a page for people or programs that a server sends in place of a file.

Mirrors that have lost a file, sites that require a login, and networks with a portal answer 200 and
such a page. Declared as ``raw``, it would become an image.
"""

import re

#: The number of first bytes by which a page is recognized.
HEAD_BYTES = 512

#: As browsers recognize HTML (WHATWG MIME Sniffing, section 7.1), also behind an XML declaration or
#: a comment.
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|title|script)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*[\[{]\s*["\[\]{}0-9tfn-]')
_JSON_TYPE = re.compile(r"(?:application|text)/(?:[a-z0-9.+-]+\+)?json\b")


def page_kind(head: bytes, content_type: str) -> str | None:
    """What data that begins with ``head`` is, with an article; None if it may be an image.

    HTML is recognized whatever the server calls it. An image may begin like JSON, so the server
    must call it JSON as well.
    """
    if _HTML.match(head):
        return "an HTML page"
    if _JSON.match(head) and _JSON_TYPE.match(content_type.strip().lower()):
        return "a JSON document"
    return None
