"""For all tests: hypothesis judges by what happens, never by how long it took."""

from hypothesis import settings

settings.register_profile("imsgate", deadline=None)
settings.load_profile("imsgate")
