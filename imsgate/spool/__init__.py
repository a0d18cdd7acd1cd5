"""Resumable uploads in front of a service that knows none: spooled here, then sent in one request.

Records stay at upstream. For each image that is uploaded this way, the registry here has a record
of its own, which only carries the upload: it is ``saving`` until upstream has the image, and then
``queued`` again, and has no data. So everything in ``imsgate.transfer`` works as for an image here.
"""
