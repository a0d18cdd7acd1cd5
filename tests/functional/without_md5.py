"""The command ``imsgate`` on a host without MD5.

``OPENSSL_CONF`` takes it out of OpenSSL. Python's own implementation goes here: distributions for
hosts in FIPS mode build Python without it.
"""

import logging
import sys

if __name__ == "__main__":
    sys.modules["_md5"] = None  # type: ignore[assignment]  # so that its import fails
    logging.disable()  # hashlib logs an error for what it lacks
    from imsgate.cmd import main

    logging.disable(logging.NOTSET)
    sys.exit(main.main())
