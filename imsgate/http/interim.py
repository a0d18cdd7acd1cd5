"""The interim response 104 (Upload Resumption Supported), for which WSGI has no call.

Source: draft-ietf-httpbis-resumable-upload-12, section 5. It goes straight to the connection,
which gunicorn provides; behind other servers nothing is sent.
"""

from collections.abc import Mapping

from imsgate.http import upload_headers
from imsgate.http.wsgi import Environ

#: The interop versions of the draft whose interim responses are alike.
INTEROP_VERSIONS = range(6, 10)


def send_upload_resumption(environ: Environ, headers: Mapping[str, str]) -> None:
    """Send the address of its upload to a client that expects this, before its body is read.

    Only clients that send the draft's interop version understand it, and only over HTTP/1.1.
    Raises OSError if the connection is gone.
    """
    connection = environ.get("gunicorn.socket")
    text = environ.get("HTTP_UPLOAD_DRAFT_INTEROP_VERSION")
    version = upload_headers.integer(text)
    if connection is None or version not in INTEROP_VERSIONS:
        return
    if environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        return
    lines = ["HTTP/1.1 104 Upload Resumption Supported", f"Upload-Draft-Interop-Version: {version}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
