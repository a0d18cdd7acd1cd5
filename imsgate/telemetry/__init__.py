"""What all layers share for logs and traces: outages of dependencies and the trace context."""
