"""Contracts that every plugin is held to, for its author to run; needs pytest and hypothesis."""
