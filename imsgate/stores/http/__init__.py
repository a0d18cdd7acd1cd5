"""Images as files on a WebDAV server, in a Nexus raw repository, or on any server with PUT.

``store`` is the driver and ``options`` its options; ``files`` makes the requests through
``connections``; ``put_request`` is one PUT whose body is written piece by piece, ``sink`` an object
that is being written with it and ``reader`` one that is being read; ``mark`` recognizes the place;
``listing`` reads what WebDAV servers say of their files; ``failures`` translates errors.
"""
