"""Image formats: bytes in, facts out. No I/O, no WSGI.

``gate`` is the way in: one :class:`~imsgate.formats.gate.Gate` per process, one
``Inspection`` per stream. Every other module knows one family of formats.
"""
