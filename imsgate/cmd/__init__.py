"""The ``imsgate`` command."""
