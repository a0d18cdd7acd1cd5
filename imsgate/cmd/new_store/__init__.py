"""What ``imsgate stores new`` writes: files with the placeholders ``NAME`` and ``CLASS``."""
