"""imsgate: an image-upload gateway in front of object and file stores."""
