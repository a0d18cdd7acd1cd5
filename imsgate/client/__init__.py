"""A client of the Image API v2 whose uploads and downloads go on after any interruption.

It works with imsgate, with Glance, and with every other server of that API.
"""
