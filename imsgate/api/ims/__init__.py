"""Huawei's image service, one module per resource; ``imsgate.api.routes`` holds every call."""
