"""Images as objects in a bucket of AWS S3, Ceph RGW, Swift's s3api, OBS or a similar service.

``store`` is the driver and ``options`` its options; ``bucket`` makes the requests, which
``requests`` sends through ``client``; ``sink`` and ``multipart`` write objects in parts whose sizes
``plan`` calculates; ``resumable``, ``resumable_sink`` and ``rests`` are for attempts that can be
suspended; ``reader`` reads objects; ``checksums`` verifies what was stored; ``failures`` translates
errors.
"""
