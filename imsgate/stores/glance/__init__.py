"""Any installed glance_store driver as a store; requires the extra ``imsgate[glance-store]``.

``store`` calls the driver, ``attempts`` feed it with data, ``bounded_pipe`` connects a sink that
receives chunks with a driver that reads a file, ``reader`` adapts what the driver returns,
``failures`` translates the driver's exceptions, and ``media`` tells a missing object from a missing
directory, bucket or container.
"""
