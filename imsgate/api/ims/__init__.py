"""Handlers of IMS, one module per resource; ``imsgate.api.routes`` lists every call."""
