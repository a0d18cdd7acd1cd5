"""Verification: the data of images is read again, compared with its digests, and repaired.

Digests are computed while data comes in, and a store commits before an image becomes active. What
happens to an object after that (a disk that decays, a hand that moves files) only shows when
somebody reads it. ``checking`` reads copies and records what it finds, ``background`` does so all
the time at a low rate, and ``repair`` replaces a damaged copy by a good one.
"""
