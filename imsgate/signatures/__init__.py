"""Signed images."""
