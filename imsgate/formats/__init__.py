"""Image formats: bytes in, a description of the image out. No I/O, no WSGI.

Callers use :mod:`~imsgate.formats.inspector`: one ``Inspector`` per process, one ``Inspection`` per
stream. Each of the other modules parses one family of formats or is a part that they share.
"""
