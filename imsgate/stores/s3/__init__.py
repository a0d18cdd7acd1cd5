"""Images as objects of a bucket: AWS S3, Ceph RGW, Swift's s3api, OBS and their like.

``store`` is the driver, ``bucket`` the service's calls in its words,
``sink`` and ``multipart`` what goes in, ``reader`` what comes out.
"""
