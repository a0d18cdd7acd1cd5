"""What ``imsgate doctor`` examines, by named checks: what is wrong, and what to do."""
