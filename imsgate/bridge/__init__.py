"""``egg:imsgate#bridge``: in front of Huawei Cloud IMS, which takes image data only from a bucket.

Records live in IMS. Image data is received as by the application ``gate``, into a bucket of OBS,
and a job registers the object in IMS as the data of the image.
"""
