"""Any installed glance_store driver as a store; the extra ``imsgate[glance-store]``.

``store`` speaks to the driver, ``attempts`` feed it, ``handover`` is the pipe between
a sink that is given chunks and a driver that pulls them, ``reader`` is what comes
back, and ``failures`` says what a driver's exceptions stand for.
"""
