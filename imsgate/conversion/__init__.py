"""Conversion of disk images by qemu-img, in a sandbox and in scratch space of a limited size."""
